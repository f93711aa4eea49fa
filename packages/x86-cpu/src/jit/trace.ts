/** Which bytes of a region's function came of which guest code. */
import type { FunctionBuilder, ModuleBuilder } from '@tsvisor/wasm-codegen';
import type { RegionBlock, RegionInstruction } from './region.ts';

/** Bytes of the module, the end exclusive. What control leads to may be emitted within the branch that leads there: ranges nest. */
export type CodeRange = { readonly start: number; readonly end: number };

export type RegionTrace = {
  readonly ranges: ReadonlyMap<RegionBlock | RegionInstruction, CodeRange>;
  /** Names of the function's locals by their indices. */
  readonly locals: ReadonlyMap<number, string>;
};

export class TraceBuilder {
  readonly #ranges = new Map<RegionBlock | RegionInstruction, CodeRange>();

  /** @param start size of the function before the code, and after it */
  add(origin: RegionBlock | RegionInstruction, start: number, end: number): void {
    this.#ranges.set(origin, { start, end });
  }

  /** Once the module is built. */
  finish(module: ModuleBuilder, f: FunctionBuilder, locals: ReadonlyMap<number, string>): RegionTrace {
    const placed = ({ start, end }: CodeRange): CodeRange => ({ start: module.offsetOf(f, start), end: module.offsetOf(f, end) });
    return { ranges: new Map([...this.#ranges].map(([origin, range]) => [origin, placed(range)])), locals };
  }
}
