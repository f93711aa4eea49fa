/** What the guest's init and the workloads print (guest/init, guest/bench.c). */
export type BenchLine =
  | { readonly kind: 'init' }
  | { readonly kind: 'start'; readonly workload: string }
  /** `guestSeconds` by the guest's own clock; `guestCpu` by its scheduler, children included. */
  | {
      readonly kind: 'bench';
      readonly workload: string;
      readonly guestSeconds: number;
      readonly checksum: string;
      readonly guestCpu: number;
    }
  | { readonly kind: 'done' };

const BENCH = /\bBENCH (\w+) ([\d.]+) ([0-9a-f]{8}) gcpu=([\d.]+)/;
const START = /\bSTART (\w+)$/;

/** Kernel messages may stand before the text in the same line: both go to one console. */
export function parseBenchLine(line: string): BenchLine | undefined {
  if (line.includes('INIT-REACHED')) return { kind: 'init' };
  if (line.includes('BENCHDONE')) return { kind: 'done' };
  const bench = BENCH.exec(line);
  if (bench !== null)
    return { kind: 'bench', workload: bench[1], guestSeconds: Number(bench[2]), checksum: bench[3], guestCpu: Number(bench[4]) };
  const start = START.exec(line);
  return start === null ? undefined : { kind: 'start', workload: start[1] };
}

/** Names of the workloads, in the order in which `all` runs them: the table at the end of guest/bench.c. */
export const workloadNames = (source: string): string[] => [...source.matchAll(/\{ "(\w+)", w_\w+ \}/g)].map(([, name]) => name);
