import { type Command, Option } from 'commander';
import { RunnerError } from '../errors.ts';
import { PATH_NAMES } from './paths.ts';

export type DoorbellOptions = {
  /** Of each measurement, beside its warm-up. */
  readonly seconds: number;
  readonly paths: readonly string[];
  /** The host's processors are not to halt meanwhile. */
  readonly keepAwake: boolean;
  /** A file, or instead of the table. */
  readonly json?: string | true;
  readonly svg?: string;
};

const MOST_SECONDS = 60;

/** "path,path". */
export function parsePaths(text: string): string[] {
  const paths = text.split(',').map((path) => path.trim());
  const unknown = paths.find((path) => !PATH_NAMES.includes(path));
  if (unknown !== undefined)
    throw new RunnerError('RUNNER_USAGE', `--only '${text}': '${unknown}' is none of ${PATH_NAMES.join(', ')}`);
  return PATH_NAMES.filter((path) => paths.includes(path));
}

export function parseSeconds(text: string): number {
  const seconds = /^(\d+\.?\d*|\.\d+)$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (!(seconds > 0 && seconds <= MOST_SECONDS))
    throw new RunnerError(
      'RUNNER_USAGE',
      `--seconds '${text}' is not a number of seconds, more than 0 and at most ${MOST_SECONDS}`,
    );
  return seconds;
}

const HELP = `
A guest of a few instructions, with its processor on a thread of its own, rings a doorbell in each of these ways:
  userspace-mmio   a store; a device on the embedding thread answers it: the guest waits
  userspace-pio    the same by OUT
  ioeventfd-mmio   a store that signals an eventfd, on which another thread sleeps: the guest goes on
  fast-mmio        the same with an ioeventfd of length 0, which takes stores of all sizes
  ioeventfd-pio    the same by OUT
  hypercall        the same by VMCALL
  irqfd            the way back: an eventfd signalled by a device's thread interrupts a processor that has halted

and does so in two forms, which are not to be compared with each other:
  streaming        one ring after the other: operations per second, µs of a ring, signals for each time the consumer took some
  idle-consumer    each ring finds the consumer asleep: µs until the guest sees its answer; 'signaller' is the ring's instruction alone
An irqfd has two of its own:
  halted-vcpu      µs from the signal to the first instruction of the handler, 100 µs after the processor halted; 'signaller' is the signal alone
  sleeping-vcpu    the same after 3 ms, when the processor's thread does not wait awake any more

Whoever wakes a thread pays for it. In a virtual machine that is mostly the way to a hypervisor, which wakes the halted processor: --keep-awake has none
halt, as 'idle=poll' does for Linux.

Times are the guest's, by its TSC. Beside the table are the figures published in 2009 with ioeventfd itself (Linux commit d34e6b175e61,
"KVM: add ioeventfd support"), whose harness this is after: rings one after the other, so those are to be compared with 'streaming'.

Examples:
  $ tsvisor doorbell
  $ tsvisor doorbell --only userspace-pio,ioeventfd-pio --seconds 5
  $ tsvisor doorbell --json doorbell.json --svg doorbell.svg
`;

type Raw = {
  readonly seconds: number;
  readonly only?: string[];
  readonly keepAwake?: boolean;
  readonly json?: string | true;
  readonly svg?: string;
};

/** Adds the command to the program; `done` is called with what it is given. */
export function doorbellCommand(program: Command, done: (options: DoorbellOptions) => void): void {
  program
    .command('doorbell')
    .summary('measure how fast a guest can signal, and be signalled')
    .description("Measures doorbells: what a guest's write costs that is only a signal, by each way that there is.")
    .helpOption('-h, --help', 'show this help')
    .addOption(
      new Option('-s, --seconds <number>', 'length of each measurement, beside its warm-up').argParser(parseSeconds).default(1),
    )
    .addOption(new Option('-o, --only <path,...>', 'measure these ways alone').argParser(parsePaths))
    .option('--keep-awake', "keep the host's processors from halting meanwhile, by processes of lowest priority")
    .option('--json [file]', 'write the figures as JSON: to a file, or to standard output instead of the table')
    .option('--svg <file>', 'draw operations per second as a bar chart')
    .addHelpText('after', HELP)
    .allowExcessArguments(false)
    .exitOverride()
    .action(({ seconds, only, keepAwake = false, json, svg }: Raw) =>
      done({ seconds, paths: only ?? PATH_NAMES, keepAwake, ...(json && { json }), ...(svg !== undefined && { svg }) }),
    );
}
