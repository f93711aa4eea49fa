/** What `--stats` prints: the machine's flat counters, grouped, with units. */

export type Stats = Readonly<Record<string, number | string>>;

type Row = {
  readonly name: string;
  /** Undefined: the machine does not count it, and the row is left out. */
  readonly value: number | undefined;
  readonly unit?: string;
  /** What the number means, or is a part of. */
  readonly note?: string;
};
type Group = { readonly title: string; readonly rows: readonly Row[] };

/** Statistics of the process itself. */
export type ProcessStats = {
  readonly startMs: number;
  readonly prepareMs: number;
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly rssBytes: number;
};

const KIB = 2 ** 10;
const NAME_WIDTH = 26;
const VALUE_WIDTH = 18;

const percent = (part: number, whole: number): string => (whole > 0 ? `${((100 * part) / whole).toFixed(1)} %` : '');

/** 1234567 → "1,234,567": whatever the locale of the host. */
const grouped = (value: number): string => String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, ',');

/** Reads counters and remembers which, so that what nobody reads can be shown as it is. */
class Counters {
  readonly #stats: Stats;
  readonly #read = new Set<string>();

  constructor(stats: Stats) {
    this.#stats = stats;
  }

  get(name: string): number | undefined {
    this.#read.add(name);
    const value = this.#stats[name];
    return typeof value === 'number' ? value : undefined;
  }

  rest(): [string, number | string][] {
    return Object.entries(this.#stats).filter(([name]) => !this.#read.has(name));
  }
}

const row = (name: string, value: number | undefined, unit?: string, note?: string): Row => ({
  name,
  value,
  ...(unit === undefined ? {} : { unit }),
  ...(note === undefined || note === '' ? {} : { note }),
});

const scaled = (value: number | undefined, by: number): number | undefined => (value === undefined ? undefined : value / by);

function guestRows(c: Counters): Row[] {
  const all = c.get('guest.instructions');
  c.get('cpu.instructions');
  const counted = c.get('cpu.compiled');
  // Regions count whole blocks, also those that a fault ended early.
  const compiled = counted === undefined || all === undefined ? undefined : Math.min(counted, all);
  const interpreted = compiled === undefined || all === undefined ? undefined : all - compiled;
  return [
    row('instructions', all),
    row('in compiled code', compiled, '', percent(compiled ?? 0, all ?? 0)),
    row('in the interpreter', interpreted, '', percent(interpreted ?? 0, all ?? 0)),
    row('speed', c.get('guest.MIPS'), 'MIPS'),
    row('running', c.get('guest.run ms'), 'ms'),
    row('idle', c.get('guest.idle ms'), 'ms'),
    row('to first instruction', c.get('machine.first instruction ms'), 'ms'),
    row('faults', c.get('cpu.faults'), '', 'delivered to the guest'),
    row('interrupts', c.get('cpu.interrupts'), '', 'delivered to the guest'),
    row('halts', c.get('loop.halts')),
  ];
}

function compiledRows(c: Counters): Row[] {
  const live = c.get('cpu.regionsLive');
  return [
    row('regions', c.get('cpu.regions'), '', 'compiled in all'),
    row('live', live),
    row('dropped', c.get('cpu.regionsDropped'), '', 'their code was written to'),
    row('evicted', c.get('cpu.regionsEvicted'), '', 'to make room'),
    row('late', c.get('cpu.regionsLate'), '', 'thrown away: their code had changed meanwhile'),
    row('shared', c.get('cpu.regionsShared'), '', 'compiled before, for this processor or another'),
    row('kept', c.get('cpu.regionsKept'), '', 'compiled in an earlier run'),
    row('WebAssembly', scaled(c.get('cpu.regionBytes'), KIB), 'KiB', 'in all'),
    row('WebAssembly, live', scaled(c.get('cpu.regionBytesLive'), KIB), 'KiB'),
    row('instructions in regions', c.get('cpu.regionInstructions'), '', 'of the guest, compiled'),
    row('compile time', c.get('cpu.compileMs'), 'ms', "of the processor's thread"),
  ];
}

function interpreterRows(c: Counters): Row[] {
  return [
    row('blocks', c.get('cpu.blocks'), '', 'translated'),
    row('instructions', c.get('cpu.translated'), '', 'translated'),
    row('forms', c.get('cpu.forms'), '', 'given functions of their own'),
    row('flushes', c.get('cpu.flushes'), '', 'of all translations'),
  ];
}

function exitRows(c: Counters): Row[] {
  return [
    row('all', c.get('cpu.exits'), '', 'from generated code to the run loop'),
    row('budget or event', c.get('cpu.exitsBudget')),
    row('fault', c.get('cpu.exitsFault'), '', 'not delivered by generated code'),
    row('resync', c.get('cpu.exitsResync'), '', 'context changed in TypeScript, code written to'),
    row('refused', c.get('cpu.exitsRefused')),
    row('halt', c.get('cpu.halts'), '', 'the processor waited'),
  ];
}

function helperRows(c: Counters): Row[] {
  return [
    row('TLB misses', c.get('cpu.tlbMisses'), '', 'page walks, in WebAssembly'),
    row('system helpers', c.get('cpu.system'), '', 'calls of TypeScript instructions'),
    row('device memory', c.get('cpu.mmio'), '', 'accesses'),
    row('code writes', c.get('cpu.codeWrites'), '', 'from outside of the processor'),
  ];
}

function loopRows(c: Counters): Row[] {
  return [
    row('slices', c.get('loop.slices')),
    row('yields', c.get('loop.yields'), '', 'to the event loop'),
    row('timers', c.get('loop.timers')),
    row('memory of the machine', c.get('machine.memory used MiB'), 'MiB'),
  ];
}

function processRows({ startMs, prepareMs, wallMs, cpuMs, rssBytes }: ProcessStats): Row[] {
  return [
    row('start', startMs, 'ms'),
    row('prepare', prepareMs, 'ms', 'kernel and initramfs'),
    row('wall', wallMs, 'ms'),
    row('cpu', cpuMs, 'ms', 'all threads'),
    row('resident memory', rssBytes / 2 ** 20, 'MiB'),
  ];
}

function line({ name, value, unit = '', note }: Row): string {
  const left = `  ${name.padEnd(NAME_WIDTH)}${grouped(value ?? 0).padStart(VALUE_WIDTH)} ${unit.padEnd(4)}`;
  return `${left} ${note ?? ''}`.trimEnd();
}

/** Text of the statistics, with a line break at its end. */
export function formatStats(process: ProcessStats, machine: Stats): string {
  const c = new Counters(machine);
  const groups: Group[] = [
    { title: 'process', rows: processRows(process) },
    { title: 'guest', rows: guestRows(c) },
    { title: 'compiled tier', rows: compiledRows(c) },
    { title: 'interpreter', rows: interpreterRows(c) },
    { title: 'exits', rows: exitRows(c) },
    { title: 'helpers', rows: helperRows(c) },
    { title: 'run loop', rows: loopRows(c) },
  ];
  const blocks = groups.flatMap(({ title, rows }) => {
    const lines = rows.filter(({ value }) => value !== undefined).map(line);
    return lines.length === 0 ? [] : [[title, ...lines].join('\n')];
  });
  const rest = c
    .rest()
    .map(
      ([name, value]) =>
        `  ${name.padEnd(NAME_WIDTH)}${(typeof value === 'number' ? grouped(value) : value).padStart(VALUE_WIDTH)}`,
    );
  if (rest.length > 0) blocks.push(['other', ...rest].join('\n'));
  return `${blocks.join('\n')}\n`;
}
