import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';

/** What generated code depends on: the engine, the encoder it is written with, and where things are. */
const SOURCES = ['x86-cpu', 'wasm-codegen', 'state-layout'].map((name) => new URL(`../../${name}/src/`, import.meta.url));

/** A name for the engine as its sources make it: code that was generated with another one is not used. */
export function engineIdOf(core: string): string {
  const hash = createHash('sha256').update(core);
  for (const folder of SOURCES) {
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    for (const name of names.filter((one) => one.endsWith('.ts') && !one.endsWith('.test.ts')).sort())
      hash.update(name).update(readFileSync(new URL(name, folder)));
  }
  return hash.digest('hex').slice(0, 16);
}
