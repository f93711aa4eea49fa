/**
 * `npm run -s bench -- [NAME] [options]`: measurements beside peers. Results on standard output, progress on standard error.
 * Ends with 0, with 1 when a limit or a checksum does not hold, with 2 for a wrong command line, with 3 when it cannot measure here.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { boot } from './commands/boot.ts';
import { check, RECORDED } from './commands/check.ts';
import type { CommandContext, Outcome } from './commands/command.ts';
import { type SuiteOptions, suite } from './commands/suite.ts';
import { buildCommand } from './contenders/tsvisor.ts';
import { hasCpuTimes } from './cpu-time.ts';
import { BenchError, isBenchError } from './errors.ts';
import { bitsOption, numberOption, tierOption } from './options.ts';

const USAGE = `usage: npm run -s bench -- [NAME] [options]

  all     both suites; what is run without a name                  --scale S (1)  --only NAME,NAME  --rounds N (3)  --tier T
  suite   guest workloads, boot and memory, beside QEMU and v86    --bits 64|32 (64), and those of all
  check   the suites beside the results recorded last              --rounds N (3)  --from FILE  --against FILE
  boot    boot to init alone                                       --bits 64|32 (64)  --rounds N (3)  --tier T
  interp  the interpreter's guest instructions per second          --scale S (1)
  start   process start to first guest instruction                 --runs N (10)
  bus     finding one of 1,000 devices, beside the only one        --rounds N (9)
  doorbell  an ioeventfd's ring from compiled guest code         --rounds N (9)
  smp     two vCPUs' throughput beside one's                       --rounds N (3)
  load    mixed load for a while: failures, resident memory        --minutes N (30)  --cpus N (1)

  --tier T         of this project's engine: interp, jit or auto (auto)
  --json FILE      also writes the figures there
  --markdown FILE  and --svg FILE: a table and a chart of the suites
  --from FILE      judges results that --json wrote, instead of measuring
  --against FILE   compares with those instead of bench/results/latest.json
`;

type Option =
  | 'rounds'
  | 'runs'
  | 'minutes'
  | 'cpus'
  | 'scale'
  | 'only'
  | 'tier'
  | 'bits'
  | 'from'
  | 'against'
  | 'json'
  | 'markdown'
  | 'svg';
type Values = { readonly [name in Option]?: string };
type CommandEntry = {
  readonly options: readonly Option[];
  /** It has no use for the tsvisor command. */
  readonly inProcess?: true;
  readonly run: (values: Values, context: CommandContext) => Promise<Outcome>;
};

const whole = { min: 1, whole: true };
const OUTPUTS = ['markdown', 'svg'] as const;
const SUITE = ['scale', 'only', 'rounds', 'tier', ...OUTPUTS] as const;

const suiteOptions = ({ scale, only, rounds, tier }: Values): SuiteOptions => ({
  scale: numberOption('--scale', scale, 1, { min: 0.0001 }),
  rounds: numberOption('--rounds', rounds, 3, whole),
  tier: tierOption(tier),
  only: only?.split(',').filter((name) => name !== '') ?? [],
});

const commands: Readonly<Record<string, CommandEntry>> = {
  all: { options: SUITE, run: (values, context) => suite([64, 32], suiteOptions(values), context) },
  suite: {
    options: ['bits', ...SUITE],
    run: (values, context) => suite([bitsOption(values.bits)], suiteOptions(values), context),
  },
  check: {
    options: ['from', 'against', 'rounds', ...OUTPUTS],
    run: ({ from, against = RECORDED, rounds }, context) =>
      check({ from, against, rounds: numberOption('--rounds', rounds, 3, whole) }, context),
  },
  boot: {
    options: ['bits', 'rounds', 'tier'],
    run: ({ bits, rounds, tier }, context) =>
      boot({ bits: bitsOption(bits), rounds: numberOption('--rounds', rounds, 3, whole), tier: tierOption(tier) }, context),
  },
  interp: {
    options: ['scale'],
    run: async ({ scale }, context) => {
      const { interp } = await import('./commands/interp.ts');
      return interp({ scale: numberOption('--scale', scale, 1, { min: 0.001 }) }, context);
    },
  },
  bus: {
    inProcess: true,
    options: ['rounds'],
    run: async ({ rounds }, context) => {
      const { bus } = await import('./commands/bus.ts');
      return bus({ rounds: numberOption('--rounds', rounds, 9, whole) }, context);
    },
  },
  doorbell: {
    inProcess: true,
    options: ['rounds'],
    run: async ({ rounds }, context) => {
      const { doorbell } = await import('./commands/doorbell.ts');
      return doorbell({ rounds: numberOption('--rounds', rounds, 9, whole) }, context);
    },
  },
  smp: {
    options: ['rounds'],
    run: async ({ rounds }, context) => {
      const { smp } = await import('./commands/smp.ts');
      return smp({ rounds: numberOption('--rounds', rounds, 3, whole) }, context);
    },
  },
  load: {
    options: ['minutes', 'cpus'],
    run: async ({ minutes, cpus }, context) => {
      const { load } = await import('./commands/load.ts');
      const options = {
        minutes: numberOption('--minutes', minutes, 30, { min: 0.5 }),
        cpus: numberOption('--cpus', cpus, 1, whole),
      };
      return load(options, context);
    },
  },
  start: {
    options: ['runs'],
    run: async ({ runs }, context) => {
      const { start } = await import('./commands/start.ts');
      return start({ runs: numberOption('--runs', runs, 10, whole) }, context);
    },
  },
};

function readOptions(name: string, command: CommandEntry, args: readonly string[]): Values {
  const options = Object.fromEntries([...command.options, 'json'].map((option) => [option, { type: 'string' as const }]));
  try {
    return parseArgs({ args: [...args], options, strict: true }).values;
  } catch (error) {
    const message = error instanceof Error ? error.message.split('. ')[0] : String(error);
    throw new BenchError('BENCH_USAGE', `${name}: ${message}`, { cause: error });
  }
}

/** The clocks' steps are longer than what is cut off. */
const rounded = (_: string, value: unknown): unknown => (typeof value === 'number' ? Number(value.toFixed(5)) : value);

function write(path: string | undefined, content: (() => string) | undefined): void {
  if (path !== undefined && content !== undefined) writeFileSync(path, content());
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(USAGE);
    return 0;
  }
  const [name, ...rest] = args[0] === undefined || args[0].startsWith('-') ? ['all', ...args] : args;
  if (!Object.hasOwn(commands, name)) throw new BenchError('BENCH_USAGE', `no such benchmark: ${name}\n${USAGE}`);
  const values = readOptions(name, commands[name], rest);
  if (!hasCpuTimes())
    throw new BenchError('BENCH_HOST', 'this host does not tell the CPU time of threads (/proc/PID/task/*/schedstat)');
  const progress = (text: string): void => void process.stderr.write(`bench: ${text}\n`);
  if (commands[name].inProcess === undefined && values.from === undefined) {
    progress('building the tsvisor command');
    buildCommand();
  }
  const outcome = await commands[name].run(values, { progress });
  process.stdout.write(`${outcome.text}\n`);
  write(values.json, () => `${JSON.stringify(outcome.data, rounded, 2)}\n`);
  write(values.markdown, outcome.markdown);
  write(values.svg, outcome.svg);
  return outcome.ok ? 0 : 1;
}

// Children and folders are cleaned up on exit, which a signal alone would not be.
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)
  process.on(signal, () => process.exit(status));

try {
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  if (!isBenchError(error)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exit(error.code === 'BENCH_USAGE' ? 2 : 3);
}
