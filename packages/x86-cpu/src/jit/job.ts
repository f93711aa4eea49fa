/** What a compilation is asked for, and what comes of it: both can be posted to another thread. */
import type { CodeBytes, Region } from './region.ts';

export type CompileJob = {
  /** The hot block: its host address and mode key. */
  readonly host: number;
  readonly key: number;
  /** RIP of the block's page, and how the vCPU finds pages it fetches from. */
  readonly pageRip: bigint;
  readonly codeBase: bigint;
  readonly tlbFetch: number;
};

/** A region, for any vCPU of the memory. */
export type CompiledJob = Pick<Region, 'key' | 'pages' | 'code'> & {
  readonly module: WebAssembly.Module;
  /** What that exports it as. */
  readonly name: string;
  /** Blocks that it can be entered at: where they are, and how far their pages are from the base. */
  readonly entries: readonly { readonly host: number; readonly page: number }[];
  /** Size of its WebAssembly, and the guest's instructions in it. */
  readonly bytes: number;
  readonly instructions: number;
  /** `shared`: it had been made before, for this vCPU or another; `kept`: in an earlier run. */
  readonly origin: 'made' | 'shared' | 'kept';
};

/** Whether memory holds what a region was made of. */
export function holdsCode(memory: Uint8Array, code: readonly CodeBytes[]): boolean {
  for (const { host, bytes } of code) for (let n = 0; n < bytes.length; n++) if (memory[host + n] !== bytes[n]) return false;
  return true;
}
