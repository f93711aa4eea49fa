/** The long form of the tiers test: `pnpm soak:tiers --help`. With workers, each is a process that takes every so many-th seed. */
import { fork } from 'node:child_process';
import { parseArgs } from 'node:util';
import type { SessionOptions } from './session.ts';
import { Session } from './session.ts';

const HELP = `usage: pnpm soak:tiers [options]

Runs random programs of basic blocks in the interpreter and in the compiled tier and compares registers, flags, memory, faults, interrupts and
device accesses wherever the compiled one stops. Prints progress, and for the first programs that differ the smallest form of them that still
does. Ends with status 0 if all agree.

  --programs N      how many programs (2000000)
  --workers N       processes that share them (1)
  --seed N          seed of the first program; the others follow (random)
  --failures N      gives up after so many that differ, in each process (5)
  --heat N,N,...    executions before a block is compiled, of one machine each (3,8,24,70)
  --checked N       checks the compiled code of every N-th program while it is built; 0 never (50)
  --fresh           forgets all translations before each program
  --smc PERCENT     of accesses that may go to the program itself
  --blocks N        blocks of a program at most
  --fuel N          instructions of a program at most
`;

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', short: 'h', default: false },
    programs: { type: 'string', default: '2000000' },
    workers: { type: 'string', default: '1' },
    /** Of a worker: its number. */
    worker: { type: 'string' },
    seed: { type: 'string' },
    heat: { type: 'string' },
    smc: { type: 'string' },
    blocks: { type: 'string' },
    fuel: { type: 'string' },
    failures: { type: 'string', default: '5' },
    fresh: { type: 'boolean', default: false },
    checked: { type: 'string' },
  },
});
if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 30) : Number(values.seed);
const total = Number(values.programs);
const workers = Number(values.workers);
const number = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text));

type Totals = Pick<Session, 'programs' | 'instructions' | 'stops' | 'regions' | 'endings'> & { readonly failed: number };
const started = performance.now();
const seconds = (): number => (performance.now() - started) / 1000;

/** Runs every `stride`-th program from `first` on. */
function soak(first: number, stride: number, report: (totals: Totals) => void): void {
  const options: SessionOptions = {
    maxBlocks: number(values.blocks),
    fuel: number(values.fuel),
    selfModifying: number(values.smc),
    heats: values.heat?.split(',').map(Number),
    checkedEvery: number(values.checked),
    fresh: values.fresh,
  };
  const session = new Session(options);
  let failed = 0;
  let shown = 0;
  const totals = (): Totals => {
    const { programs, instructions, stops, regions, endings } = session;
    return { programs, instructions, stops, regions, endings, failed };
  };
  for (let n = first; n < total && failed < Number(values.failures); n += stride) {
    const difference = session.run(seed + n);
    if (difference !== undefined) {
      failed++;
      console.log(`\nseed ${seed + n}: ${difference}\n${session.explain(seed + n)}`);
    }
    if (seconds() - shown < 5) continue;
    shown = seconds();
    report(totals());
  }
  report(totals());
}

function sum(parts: readonly Totals[]): Totals {
  const endings: Record<string, number> = {};
  for (const part of parts)
    for (const [ending, count] of Object.entries(part.endings)) endings[ending] = (endings[ending] ?? 0) + count;
  const of = (key: Exclude<keyof Totals, 'endings'>): number => parts.reduce((all, part) => all + part[key], 0);
  return {
    programs: of('programs'),
    instructions: of('instructions'),
    stops: of('stops'),
    regions: of('regions'),
    failed: of('failed'),
    endings,
  };
}

const progress = ({ programs, failed, regions }: Totals): void =>
  void process.stderr.write(
    `\r${programs} programs, ${failed} failed, ${regions} regions, ${Math.round(programs / seconds())}/s `,
  );

function finish(totals: Totals): void {
  const { programs, failed, instructions, stops, regions, endings } = totals;
  console.log(
    `\nseed ${seed}, ${programs} programs, ${failed} failed, ${instructions} instructions, ${stops} stops, ${regions} regions`,
  );
  console.log(`${Math.round(seconds())} s, ${JSON.stringify(endings)}`);
  process.exitCode = failed === 0 && programs === total ? 0 : 1;
}

if (values.worker !== undefined) soak(Number(values.worker), workers, (totals) => process.send?.(totals));
else if (workers === 1) {
  let last: Totals | undefined;
  soak(0, 1, (totals) => {
    last = totals;
    progress(totals);
  });
  if (last) finish(last);
} else {
  const parts: Totals[] = [];
  const children = Array.from({ length: workers }, (_, n) => {
    const child = fork(process.argv[1], [...process.argv.slice(2), `--worker=${n}`, `--seed=${seed}`]);
    child.on('message', (totals: Totals) => {
      parts[n] = totals;
      progress(sum(parts.filter(Boolean)));
    });
    return new Promise<void>((resolve) => child.once('exit', () => resolve()));
  });
  await Promise.all(children);
  finish(sum(parts.filter(Boolean)));
}
