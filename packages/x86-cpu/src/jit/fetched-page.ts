import { TLB_INDEX_MASK } from '../emit/emitter.ts';
import { codeSize } from '../records/mode-key.ts';
import type { CompileJob } from './job.ts';

/** Where instructions at a distance from the hot block's page are fetched from, if the vCPU's fetch TLB knows; else 0. `memory`: as words. */
export function fetchedPage(memory: Int32Array, job: Omit<CompileJob, 'host'>, distance: number): number {
  const rip = job.pageRip + BigInt(distance);
  const mode64 = codeSize(job.key) === 64;
  if (!mode64 && (rip < 0n || rip > 0xffff_ffffn)) return 0;
  const linear = mode64 ? BigInt.asUintN(64, rip) : (rip + job.codeBase) & 0xffff_ffffn;
  const lo = Number(linear & 0xffff_ffffn);
  const at = (job.tlbFetch + ((lo >>> 8) & TLB_INDEX_MASK)) >>> 2;
  if (memory[at] >>> 0 !== lo || memory[at + 1] >>> 0 !== Number(linear >> 32n)) return 0;
  return (lo + memory[at + 2]) >>> 0;
}
