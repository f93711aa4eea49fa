/**
 * `npm run -s bench -- NAME [options]`: measurements beside peers. Results on standard output, progress on standard error.
 * Ends with 0, with 1 when a limit or a checksum does not hold, with 2 for a wrong command line, with 3 when it cannot measure here.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { boot } from './commands/boot.ts';
import type { CommandContext, Outcome } from './commands/command.ts';
import { suite } from './commands/suite.ts';
import { hasCpuTimes } from './cpu-time.ts';
import { BenchError, isBenchError } from './errors.ts';
import { numberOption, tierOption } from './options.ts';

const USAGE = `usage: npm run -s bench -- NAME [options]

  boot    boot to init: CPU seconds beside QEMU's translator       --rounds N (3)  --tier T (interp)
  suite   guest workloads: checksums and CPU seconds beside QEMU   --scale S (0.1)  --only NAME,NAME  --rounds N (1)
                                                                   --tier T (interp)
  interp  guest instructions per second on crc32                   --scale S (1)
  start   process start to first guest instruction                 --runs N (10)

  --json FILE  also writes the figures there
`;

type Values = { rounds?: string; runs?: string; scale?: string; only?: string; tier?: string; json?: string };
type CommandEntry = {
  readonly options: readonly (keyof Values)[];
  readonly run: (values: Values, context: CommandContext) => Promise<Outcome>;
};

const whole = { min: 1, whole: true };

const commands: Readonly<Record<string, CommandEntry>> = {
  boot: {
    options: ['rounds', 'tier'],
    run: ({ rounds, tier }, context) =>
      boot({ rounds: numberOption('--rounds', rounds, 3, whole), tier: tierOption(tier) }, context),
  },
  suite: {
    options: ['scale', 'only', 'rounds', 'tier'],
    run: ({ scale, only, rounds, tier }, context) =>
      suite(
        {
          scale: numberOption('--scale', scale, 0.1, { min: 0.0001 }),
          rounds: numberOption('--rounds', rounds, 1, whole),
          tier: tierOption(tier),
          only: only?.split(',').filter((name) => name !== '') ?? [],
        },
        context,
      ),
  },
  interp: {
    options: ['scale'],
    run: async ({ scale }, context) => {
      const { interp } = await import('./commands/interp.ts');
      return interp({ scale: numberOption('--scale', scale, 1, { min: 0.001 }) }, context);
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

async function main(args: readonly string[]): Promise<number> {
  const [name = '--help', ...rest] = args;
  if (name === '--help' || name === '-h' || rest.includes('--help')) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (!Object.hasOwn(commands, name)) throw new BenchError('BENCH_USAGE', `no such benchmark: ${name}\n${USAGE}`);
  const values = readOptions(name, commands[name], rest);
  if (!hasCpuTimes())
    throw new BenchError('BENCH_HOST', 'this host does not tell the CPU time of threads (/proc/PID/task/*/schedstat)');
  const outcome = await commands[name].run(values, { progress: (text) => process.stderr.write(`bench: ${text}\n`) });
  process.stdout.write(`${outcome.text}\n`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(outcome.data, null, 2)}\n`);
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
