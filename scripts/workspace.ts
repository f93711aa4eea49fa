import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type Manifest = {
  name?: string;
  version?: string;
  description?: string;
  license?: string;
  private?: boolean;
  type?: string;
  sideEffects?: boolean;
  engines?: Record<string, string>;
  files?: string[];
  exports?: Record<string, unknown>;
  bin?: Record<string, string>;
  scripts?: Record<string, string>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
};

export type WorkspacePackage = {
  /** Folder from the repository's root, with forward slashes: `packages/irqchip`. */
  readonly folder: string;
  readonly path: string;
  readonly name: string;
  readonly manifest: Manifest;
};

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const readManifest = (path: string): Manifest => JSON.parse(readFileSync(path, 'utf8')) as Manifest;

export const rootManifest = (): Manifest => readManifest(join(root, 'package.json'));

/** Every package of the workspace, in the order of its folders. */
export function workspacePackages(base = root): WorkspacePackage[] {
  const children = (folder: string): string[] =>
    existsSync(join(base, folder)) ? readdirSync(join(base, folder)).map((name) => `${folder}/${name}`) : [];
  const folders = [...children('packages'), ...children('apps'), ...children('examples'), 'bench', 'scripts'].sort();
  return folders.flatMap((folder) => {
    const file = join(base, folder, 'package.json');
    if (!existsSync(file)) return [];
    const manifest = readManifest(file);
    return [{ folder, path: join(base, folder), name: manifest.name ?? folder, manifest }];
  });
}
