import { createMmioBus, createPioBus, type IoBus } from '@tsvisor/io-bus';
import { BenchError } from '../errors.ts';
import { describeHost } from '../host.ts';
import { median } from '../statistics.ts';
import { table, times } from '../table.ts';
import { type CommandContext, type Outcome, verdict } from './command.ts';

/** How much longer an access may take with 1,000 devices on the bus than with one. */
const LIMIT = 3;
const DEVICES = [1, 10, 100, 1000] as const;
/** Distance of two devices: ports, or bytes of guest-physical addresses. */
const STEP = { ports: 16, memory: 4096 } as const;
const ACCESSES = 1_000_000;
/** Addresses are taken from a list as long as this, in an order without a pattern. */
const ORDER = 4096;

export type BusOptions = { readonly rounds: number };

type Case = {
  readonly bus: 'ports' | 'memory';
  readonly access: 'one device' | 'any device' | 'any ioeventfd';
  readonly devices: number;
  readonly run: () => void;
};

/** The same addresses in every run (a linear congruential generator). */
function addresses(base: number, step: number, devices: number, one: boolean): Float64Array {
  let seed = 1;
  return Float64Array.from({ length: ORDER }, () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return base + step * (one ? devices >> 1 : Math.floor((seed / 2 ** 32) * devices));
  });
}

function cases(bus: Case['bus'], devices: number): Case[] {
  const base = bus === 'ports' ? 0x1000 : 0xd000_0000;
  const step = STEP[bus];
  const create = (): IoBus => (bus === 'ports' ? createPioBus() : createMmioBus());
  let writes = 0;
  const withDevices = create();
  const withDoorbells = create();
  for (let i = 0; i < devices; i++) {
    const address = base + step * i;
    withDevices.register({ base: address, size: 16, name: `device ${i}` }, { read: () => 0, write: () => void writes++ });
    withDoorbells.assignIoeventfd({ address, length: 4 }, { signal: () => void writes++ });
  }
  const run = (on: IoBus, one: boolean): (() => void) => {
    const list = addresses(base, step, devices, one);
    return () => {
      writes = 0;
      for (let i = 0; i < ACCESSES; i++) on.write(list[i % ORDER], 4, i);
      if (writes !== ACCESSES) throw new BenchError('BENCH_GUEST', `${ACCESSES} writes, and ${writes} arrived`);
    };
  };
  return [
    { bus, access: 'one device', devices, run: run(withDevices, true) },
    { bus, access: 'any device', devices, run: run(withDevices, false) },
    { bus, access: 'any ioeventfd', devices, run: run(withDoorbells, false) },
  ];
}

/** What finding a device costs: writes on buses with 1 to 1,000 devices, beside the same bus with one. */
export async function bus({ rounds }: BusOptions, { progress }: CommandContext): Promise<Outcome> {
  const all = DEVICES.flatMap((devices) => [...cases('ports', devices), ...cases('memory', devices)]);
  const ns = new Map<Case, number[]>(all.map((one) => [one, []]));
  // The first round is for the compiler.
  for (let round = 0; round <= rounds; round++) {
    progress(round === 0 ? 'warming up' : `round ${round}/${rounds}`);
    for (const [one, figures] of ns) {
      const start = performance.now();
      one.run();
      if (round > 0) figures.push(((performance.now() - start) * 1e6) / ACCESSES);
    }
  }
  const figures = [...ns].map(([{ bus, access, devices }, values]) => ({ bus, access, devices, ns: median(values) }));
  const rows = ['ports', 'memory'].flatMap((on) =>
    ['one device', 'any device', 'any ioeventfd'].map((access) => {
      const row = figures.filter((figure) => figure.bus === on && figure.access === access);
      return { name: `${on}, ${access}`, row, ratio: row[row.length - 1].ns / row[0].ns };
    }),
  );
  const held = rows.every(({ ratio }) => ratio <= LIMIT);
  const text = [
    `Nanoseconds of a write on a bus with so many devices: median of ${rounds}`,
    `  ${describeHost()}`,
    table(
      ['', ...DEVICES.map(String), 'last : first'],
      rows.map(({ name, row, ratio }) => [name, ...row.map((figure) => figure.ns.toFixed(1)), times(ratio)]),
    ),
    verdict(times(LIMIT), held),
  ].join('\n');
  return { text, data: { host: describeHost(), figures }, ok: held };
}
