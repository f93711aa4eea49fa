/** Builds the engine's core for this project's machines, which takes each of their processes some hundred milliseconds otherwise. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { saveCore } from '@tsvisor/x86-cpu';
import { CORE_LAYOUTS } from '../src/core-layouts.ts';
import { engineIdOf } from './engine-id.ts';

const folder = new URL('../generated/', import.meta.url);
mkdirSync(folder, { recursive: true });
const core = JSON.stringify(saveCore(CORE_LAYOUTS));
writeFileSync(new URL('core.js', folder), `export const savedCore = ${core};\n`);
writeFileSync(
  new URL('core.d.ts', folder),
  "import type { SavedCore } from '@tsvisor/x86-cpu';\nexport declare const savedCore: SavedCore;\n",
);
writeFileSync(new URL('engine-id.js', folder), `export const engineId = '${engineIdOf(core)}';\n`);
writeFileSync(new URL('engine-id.d.ts', folder), 'export declare const engineId: string;\n');
