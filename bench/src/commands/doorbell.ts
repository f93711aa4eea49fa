import { type DoorbellPath, doorbellGuest } from '../doorbell-guest.ts';
import { BenchError } from '../errors.ts';
import { describeHost } from '../host.ts';
import { median } from '../statistics.ts';
import { table } from '../table.ts';
import { type CommandContext, type Outcome, verdict } from './command.ts';

/** Nanoseconds that a ring by generated code may take: 20 million of writes a second, 10 million hypercalls. */
const LIMIT = { write: 50, hypercall: 100 } as const;
const RINGS = 1_000_000;

const STORE = [0x89, 0x18]; // mov [rax], ebx
const PORT = 0x500;
const MEMORY = 0xd000_0000;
/** The value in RBX. */
const VALUE = 5;

// biome-ignore format: table
const PATHS: readonly DoorbellPath[] = [
  { name: 'MMIO, 4 bytes', code: STORE, where: { bus: 'mmio', address: MEMORY, length: 4 } },
  { name: 'MMIO, 4 bytes of one value', code: STORE, where: { bus: 'mmio', address: MEMORY, length: 4, datamatch: VALUE } },
  { name: 'MMIO, 8 bytes', code: [0x48, 0x89, 0x18], where: { bus: 'mmio', address: MEMORY, length: 8 } },
  { name: 'fast MMIO', code: STORE, where: { bus: 'mmio', address: MEMORY, length: 0 } },
  { name: 'PIO, out dx, al', code: [0xee], where: { bus: 'pio', address: PORT, length: 1 } },
  { name: 'PIO, out dx, eax', code: [0xef], where: { bus: 'pio', address: PORT, length: 4 } },
  // mov eax, 100h; vmcall
  { name: 'hypercall', code: [0xb8, 0, 1, 0, 0, 0x0f, 0x01, 0xc1], where: { bus: 'hypercall', address: 0x100, length: 0 } },
];

export type DoorbellOptions = { readonly rounds: number };

type Figure = { readonly path: string; readonly event: 'in memory' | 'JavaScript'; readonly ns: number };

function measure(path: DoorbellPath, event: Figure['event'], rounds: number): Figure {
  const guest = doorbellGuest(path, event === 'in memory');
  // The first round is for the compilers.
  const ns = Array.from({ length: rounds + 1 }, () => guest.run(RINGS) / RINGS).slice(1);
  const generated = guest.generated();
  guest.dispose();
  const all = RINGS * (rounds + 1);
  if (generated !== (event === 'in memory' ? all : 0))
    throw new BenchError('BENCH_GUEST', `${path.name}: generated code made ${generated} of ${all} signals`);
  return { path: path.name, event, ns: median(ns) };
}

/** What a doorbell costs that compiled guest code rings in a loop, by itself and through the buses, on one thread and with nobody who sleeps. */
export async function doorbell({ rounds }: DoorbellOptions, { progress }: CommandContext): Promise<Outcome> {
  const rows = PATHS.map((path) => {
    progress(path.name);
    const limit = LIMIT[path.where.bus === 'hypercall' ? 'hypercall' : 'write'];
    return { limit, direct: measure(path, 'in memory', rounds), bus: measure(path, 'JavaScript', rounds) };
  });
  const held = rows.every(({ direct, limit }) => direct.ns <= limit);
  const perSecond = (ns: number): string => `${(1000 / ns).toFixed(1)} M/s`;
  const text = [
    `Nanoseconds of a doorbell in a loop of compiled guest code: median of ${rounds}`,
    `  ${describeHost()}`,
    table(
      ['', 'event in memory', '', 'limit', "JavaScript's event", ''],
      rows.map(({ direct, bus, limit }) => [
        direct.path,
        direct.ns.toFixed(1),
        perSecond(direct.ns),
        String(limit),
        bus.ns.toFixed(1),
        perSecond(bus.ns),
      ]),
    ),
    verdict('of each path', held),
  ].join('\n');
  return { text, data: { host: describeHost(), figures: rows.flatMap(({ direct, bus }) => [direct, bus]) }, ok: held };
}
