/**
 * Packs every publishable package as it would be published and checks the tarball: publint (does the manifest keep its promises),
 * attw (do TypeScript and Node resolve the same files), this repository's own conventions, and that the built files load.
 * Needs `turbo run build` before it.
 *
 *   node scripts/check-packages.ts [FOLDER…]
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { root, type WorkspacePackage, workspacePackages } from './workspace.ts';

export type PackageResult = { readonly folder: string; readonly problems: readonly string[] };

const run = promisify(execFile);
const tool = (name: string): string => join(root, 'node_modules', '.bin', name);
const parallel = 2;

/** What every published package of this repository has in common. */
function conventions({ folder, path, manifest }: WorkspacePackage): string[] {
  const expected: [string, boolean][] = [
    ['"license" is not MIT', manifest.license === 'MIT'],
    ['"type" is not module', manifest.type === 'module'],
    ['"sideEffects" is not false', manifest.sideEffects === false || manifest.bin !== undefined],
    ['"engines" does not ask for Node >=22', manifest.engines?.node === '>=22'],
    ['"description" is missing', (manifest.description ?? '').length > 10],
    ['"scripts.build" is not tsup', manifest.scripts?.build === 'tsup'],
    ['README.md is missing', existsSync(join(path, 'README.md'))],
  ];
  return expected.filter(([, holds]) => !holds).map(([problem]) => `${folder}: ${problem}`);
}

async function pack({ path }: WorkspacePackage): Promise<string> {
  const parent = join(root, '.cache', 'pack');
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, 'package-'));
  await run(tool('pnpm'), ['pack', '--pack-destination', folder], { cwd: path });
  return join(folder, readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? '');
}

async function checkTarball(pkg: WorkspacePackage): Promise<string[]> {
  const tarball = await pack(pkg);
  try {
    const bytes = new Uint8Array(readFileSync(tarball)).buffer;
    const { messages, pkg: manifest } = await publint({ pack: { tarball: bytes }, strict: true });
    const problems = messages.map((message) => `${pkg.folder}: publint: ${formatMessage(message, manifest) ?? message.code}`);
    if (pkg.manifest.exports === undefined) return problems;
    const attw = await run(tool('attw'), [tarball, '--profile', 'esm-only', '--no-emoji', '--no-color'], { cwd: root }).then(
      () => [],
      (error: { stdout?: string }) => [`${pkg.folder}: attw: ${error.stdout ?? String(error)}`],
    );
    return [...problems, ...attw];
  } finally {
    rmSync(join(tarball, '..'), { recursive: true, force: true });
  }
}

/** What `dist/` exports can be imported, and its commands explain themselves, in a Node that knows nothing of our conditions. */
async function checkBuilt({ folder, path, name, manifest }: WorkspacePackage): Promise<string[]> {
  const node = (...args: string[]): Promise<string[]> =>
    run(process.execPath, args, { cwd: path, timeout: 20_000 }).then(
      () => [],
      (error: { stderr?: string }) => [`${folder}: dist: ${error.stderr || String(error)}`],
    );
  const entries = Object.keys(manifest.exports ?? {}).filter((entry) => entry.startsWith('.') && !entry.endsWith('.json'));
  const imports = entries.map((entry) => node('--input-type=module', '-e', `await import('${name}${entry.slice(1)}')`));
  const commands = Object.values(manifest.bin ?? {}).map((file) => node(file, '--help'));
  return (await Promise.all([...imports, ...commands])).flat();
}

async function checkPackage(pkg: WorkspacePackage): Promise<PackageResult> {
  const problems = conventions(pkg);
  if (!existsSync(join(pkg.path, 'dist'))) return { folder: pkg.folder, problems: [...problems, `${pkg.folder}: not built`] };
  const inTarball = await checkTarball(pkg).catch((error: Error) => [`${pkg.folder}: ${error.message}`]);
  return { folder: pkg.folder, problems: [...problems, ...inTarball, ...(await checkBuilt(pkg))] };
}

/** Checks the publishable packages among `packages`, two at a time. */
export async function checkPackages(packages: readonly WorkspacePackage[]): Promise<PackageResult[]> {
  const waiting = packages.filter(({ manifest }) => manifest.private !== true);
  const results: PackageResult[] = [];
  const worker = async (): Promise<void> => {
    for (let pkg = waiting.shift(); pkg; pkg = waiting.shift()) results.push(await checkPackage(pkg));
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return results.sort((a, b) => a.folder.localeCompare(b.folder));
}

if (import.meta.main) {
  const wanted = process.argv.slice(2).map((folder) => folder.replace(/\/$/, ''));
  const packages = workspacePackages().filter(({ folder }) => wanted.length === 0 || wanted.includes(folder));
  const results = await checkPackages(packages);
  for (const problem of results.flatMap(({ problems }) => problems)) console.error(problem);
  const bad = results.filter(({ problems }) => problems.length > 0).length;
  console.error(`${results.length - bad} of ${results.length} packages can be published`);
  process.exitCode = bad === 0 && results.length > 0 ? 0 : 1;
}
