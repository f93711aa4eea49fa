/** Builds the engine's core for this project's machines, which takes each of their processes some hundred milliseconds otherwise. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { saveCore } from '@tsvisor/x86-cpu';
import { CORE_LAYOUTS } from '../src/core-layouts.ts';

const folder = new URL('../generated/', import.meta.url);
mkdirSync(folder, { recursive: true });
writeFileSync(new URL('core.js', folder), `export const savedCore = ${JSON.stringify(saveCore(CORE_LAYOUTS))};\n`);
writeFileSync(
  new URL('core.d.ts', folder),
  "import type { SavedCore } from '@tsvisor/x86-cpu';\nexport declare const savedCore: SavedCore;\n",
);
