import type { Command } from '../console-run.ts';

/** How this project's engine runs guest code. */
export type Tier = 'interp' | 'jit';

/** Everything a contender may need for one run: the same files for all. */
export type Job = {
  /** The kernel as the runner keeps it: a bzImage whose payload is unpacked. */
  readonly kernel: string;
  /** The same kernel as a plain ELF file. */
  readonly vmlinux: string;
  readonly initramfs: string;
  /** Guest RAM. */
  readonly memoryMiB: number;
  /** Workloads to run after init, by name; none: power off. */
  readonly workloads: readonly string[];
  /** Share of a workload's full work, which is 1. */
  readonly scale: number;
  readonly tier?: Tier;
  /** For a contender without a guest: the workloads' programs, the busybox that one runs, a folder for their files. Absent if not built. */
  readonly host?: { readonly bench: string; readonly bench387: string; readonly busybox: string; readonly files: string };
};

/** Something that runs the workloads and can be measured from outside. */
export type Contender = {
  readonly name: string;
  /** With its version, for the record; undefined with `missing`. */
  readonly describe: () => string;
  /** Why it cannot take part on this host; undefined when it can. */
  readonly missing: () => string | undefined;
  readonly command: (job: Job) => Command;
};

/** The console comes first on every command line; what follows is the same for every guest. */
export const CONSOLE = 'console=ttyS0';

/** Kernel parameters after the console's. Unknown ones with a value become the environment of init, which is how the scale gets in. */
export function guestParameters({ workloads, scale }: Pick<Job, 'workloads' | 'scale'>): string {
  const work = workloads.length === 0 ? ['poweroff=1'] : [`bench=${workloads.join(',')}`, `BENCH_SCALE=${scale}`];
  return ['quiet', 'mitigations=off', ...work].join(' ');
}
