import { globSync, readFileSync } from 'node:fs';
import { defineConfig } from 'tsup';

/**
 * The one build of every package; `tsup` finds this file from a package's folder.
 *
 * Entries are what the manifest exports or installs as a command, plus every `*.worker.ts`, which other code starts by URL.
 * Dependencies stay external: tsup leaves out whatever the manifest lists.
 */
type Manifest = { exports?: Record<string, { 'tsvisor-source'?: string }>; bin?: Record<string, string>; private?: boolean };

const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest;
const sourceOf = (output: string): string => output.replace(/^(?:\.\/)?dist\//, './src/').replace(/\.js$/, '.ts');

const exported = Object.values(manifest.exports ?? {}).flatMap((target) => target['tsvisor-source'] ?? []);
const commands = Object.values(manifest.bin ?? {}).map(sourceOf);
const workers = globSync('src/**/*.worker.ts');
const plain = (path: string): string => path.replace(/^\.\//, '');

export default defineConfig({
  entry: [...new Set([...exported, ...commands, ...workers].map(plain))],
  outDir: 'dist',
  clean: true,
  format: 'esm',
  platform: 'neutral',
  target: 'es2023',
  external: [/^node:/],
  sourcemap: true,
  splitting: true,
  treeshake: false,
  silent: true,
  dts: exported.length > 0 && {
    entry: exported.map(plain),
    compilerOptions: { composite: false, incremental: false, emitDeclarationOnly: false, ignoreDeprecations: '6.0' },
  },
});
