import type { Command } from '../console-run.ts';

/** How this project's engine runs guest code: `tsvisor run --tier`. */
export const TIERS = ['interp', 'jit', 'auto'] as const;
export type Tier = (typeof TIERS)[number];

/** Width of the guest's kernel and programs. */
export type Bits = 32 | 64;

/** Everything a contender may need for one run: the same files for all. */
export type Job = {
  /** The kernel as the runner keeps it: a bzImage whose payload is unpacked. */
  readonly kernel: string;
  /** The same kernel for others, unpacked, too: an ELF file entered by PVH, or of 32 bits a bzImage made by `directKernel`. */
  readonly unpacked: string;
  readonly initramfs: string;
  /** Guest RAM. */
  readonly memoryMiB: number;
  /** Workloads to run after init, by name; none: power off. */
  readonly workloads: readonly string[];
  /** Share of a workload's full work, which is 1. */
  readonly scale: number;
  /** Of this project's engine; absent: `jit`. */
  readonly tier?: Tier;
  /** For a contender without a guest: the workloads' programs, the busybox that one runs, a folder for their files. Absent if not built. */
  readonly host?: { readonly bench: string; readonly bench387: string; readonly busybox: string; readonly files: string };
};

/** Something that runs the workloads and can be measured from outside. */
export type Contender = {
  readonly name: string;
  /** Brings what it needs and what may be had without installing anything. Called once, before the others. */
  readonly prepare?: () => Promise<void>;
  /** With its version, for the record; undefined with `missing`. */
  readonly describe: () => string;
  /** Why it cannot take part on this host; undefined when it can. */
  readonly missing: () => string | undefined;
  readonly command: (job: Job) => Command;
  /** Runs that are not measured, before those that are. */
  readonly earlierRuns?: number;
};

/** The console comes first on every command line; what follows is the same for every guest. */
export const CONSOLE = 'console=ttyS0';

/** Kernel parameters after the console's. Unknown ones with a value become the environment of init, which is how the scale gets in. */
export function guestParameters({ workloads, scale }: Pick<Job, 'workloads' | 'scale'>): string {
  const work = workloads.length === 0 ? ['poweroff=1'] : [`bench=${workloads.join(',')}`, `BENCH_SCALE=${scale}`];
  return ['quiet', 'mitigations=off', ...work].join(' ');
}
