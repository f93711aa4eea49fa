import { join } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { cacheFolder } from './debian/cache.ts';
import { type DoorbellOptions, doorbellCommand } from './doorbell/options.ts';
import { oneLine, RunnerError } from './errors.ts';
import {
  type CodeCache,
  type DebianArch,
  type DeviceOption,
  type GuestFile,
  type JitDump,
  parseCpus,
  parseDebian,
  parseDevice,
  parseFile,
  parseJitDump,
  parseSerial,
  parseSize,
  parseTimeout,
  type RunOptions,
  type SerialTarget,
  TIERS,
  type Tier,
} from './options.ts';

/** What the command line asks for. */
export type Request =
  | { readonly kind: 'run'; readonly options: RunOptions }
  | { readonly kind: 'doorbell'; readonly options: DoorbellOptions }
  | { readonly kind: 'text'; readonly text: string };

const DEFAULT_MEMORY = '512M';
export const DEFAULT_CPU = 'max';

const EXAMPLES = `
Examples:
  $ tsvisor run
      Debian's cloud kernel and a busybox shell. The first start fetches both with the host's apt-get (no root needed,
      nothing is installed) and keeps them in \${XDG_CACHE_HOME:-~/.cache}/tsvisor.
  $ tsvisor run --exec 'uname -a; cat /proc/cpuinfo'
      Runs one command in the guest, prints its output alone, exits with its status.
  $ tsvisor run --cpus 4 --exec nproc
      Four processors, each on a thread of its own.
  $ tsvisor run --debian i386 --memory 256M
      The same with Debian's 32-bit kernel.
  $ tsvisor run --kernel bzImage --initrd initrd.img --append 'root=/dev/ram0 debug'
      A kernel of your own. bzImage, vmlinux and Multiboot kernels are taken.
  $ tsvisor run --file ./a.out:/bin/a.out --exec 'a.out; dmesg | tail'
      Takes a program along.
  $ tsvisor run --kernel test.elf --append 'first second' --device isa-debug-exit --device isa-debugcon --serial file:log
      A Multiboot test kernel: its arguments follow its own name, --initrd is its module, and what it writes to port 0xf4
      makes the status.
  $ tsvisor run --exec 'poweroff -f' --serial file:console.log --timeout 60 --stats
  $ tsvisor run --exec 'md5sum /bin/busybox' --dump-jit 0xffffffff81000000:region.txt
      What became of the guest's code at an address, in a file.

Console keys:
  Ctrl-A x  leave        Ctrl-A h  help        Ctrl-A Ctrl-A  send one Ctrl-A

Exit status:
  0    the guest powered off (or was left with Ctrl-A x)
  N    with --exec: the command's own status; with isa-debug-exit: (v << 1) | 1 of the value v that was written
  2    something given is not usable; one line on stderr says what
  124  --timeout was reached
  125  the guest died: triple fault, or the machine could not go on
  128+N  ended by signal N
`;

type RawOptions = {
  kernel?: string;
  bios?: string;
  initrd?: string;
  append?: string;
  memory: number;
  cpus: number;
  inline?: boolean;
  deterministic?: boolean;
  cpu: string;
  tier: Tier;
  codeCache?: string;
  debian?: DebianArch;
  exec?: string;
  file: GuestFile[];
  device: DeviceOption[];
  serial?: SerialTarget;
  timeout?: number;
  stats?: boolean;
  dumpJit?: JitDump;
};

/**
 * Reads the command line.
 * @throws RunnerError RUNNER_USAGE
 */
export function parseCommandLine(argv: readonly string[]): Request {
  let request: Request | undefined;
  let text = '';
  const program = new Command('tsvisor')
    .description('A virtual machine monitor in TypeScript: boots unmodified x86 kernels.')
    .exitOverride()
    .configureOutput({ writeOut: (s) => (text += s), writeErr: () => undefined })
    .helpCommand(false)
    .addHelpText('after', "\nRun 'tsvisor run --help' for options and examples.")
    .allowExcessArguments(false);
  runCommand(program).action((raw: RawOptions) => {
    request = { kind: 'run', options: toRunOptions(raw) };
  });
  doorbellCommand(program, (options) => {
    request = { kind: 'doorbell', options };
  });
  try {
    if (argv.length === 0)
      return { kind: 'text', text: program.helpInformation() + "\nRun 'tsvisor run --help' for options and examples.\n" };
    program.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { kind: 'text', text };
    throw new RunnerError('RUNNER_USAGE', usageMessage(error), { cause: error });
  }
  return request ?? { kind: 'text', text };
}

function runCommand(program: Command): Command {
  return program
    .command('run')
    .summary('boot a kernel to a shell, or run one command in it')
    .description('Boots a Linux kernel in a virtual machine, with its serial console on this terminal.')
    .helpOption('-h, --help', 'show this help')
    .option(
      '-k, --kernel <file>',
      "bzImage, vmlinux or Multiboot kernel to boot (default: Debian's kernel, fetched once with apt-get)",
    )
    .option('-b, --bios <file>', 'firmware instead of a kernel: a raw ROM, 64 KiB or multiples of that, below 1 MiB and 4 GiB')
    .option('-i, --initrd <file>', "initramfs, or 'none' (default: a busybox shell, built here)")
    .option('-a, --append <text>', 'added to the kernel command line (which is console=ttyS0; with --exec also quiet panic=-1)')
    .addOption(
      new Option('-m, --memory <size>', 'guest RAM: 512M, 1G; a plain number is MiB')
        .argParser(parseSize)
        .default(parseSize(DEFAULT_MEMORY), DEFAULT_MEMORY),
    )
    .addOption(new Option('-n, --cpus <number>', 'processors, 1 to 254').argParser(parseCpus).default(1))
    .option(
      '--deterministic',
      'count time in instructions, a nanosecond each, and let the processors take turns: two runs of a guest that nobody talks to are the same',
    )
    .option('--inline', 'let the processors take turns on one thread; without it each has its own')
    .option(
      '-c, --cpu <model>',
      'processor model: qemu64, kvm64, x86-64-v2, x86-64-v3 or max, with changes such as max,-avx or max,+la57,vendor=intel',
      DEFAULT_CPU,
    )
    .addOption(
      new Option('--tier <tier>', 'auto: compile what is hot; jit: compile soon; interp: interpret everything')
        .choices(TIERS)
        .default('auto'),
    )
    .addOption(
      new Option(
        '--debian <arch>',
        "which of Debian's kernels and busyboxes: amd64, i386 or i386-pae (default: amd64)",
      ).argParser(parseDebian),
    )
    .option(
      '-e, --exec <command>',
      'run a shell command in the guest, print its output (stdout and stderr in one), exit with its status',
    )
    .addOption(
      new Option('-f, --file <host[:guest]>', 'copy a file or folder into the initramfs; may be repeated')
        .argParser((value, previous: GuestFile[]) => [...previous, parseFile(value)])
        .default([], 'none'),
    )
    .addOption(
      new Option(
        '--device <device[,property=value]>',
        'isa-debug-exit,iobase=0xf4,iosize=4: a write of v ends the guest with status (v << 1) | 1; isa-debugcon,iobase=0xe9: bytes written appear on the console; pc-testdev: what kvm-unit-tests raise interrupts with; may be repeated',
      )
        .argParser((value, previous: DeviceOption[]) => [...previous, parseDevice(value)])
        .default([], 'none'),
    )
    .addOption(
      new Option('-s, --serial <target>', 'the console: stdio, null or file:PATH (default: stdio; with --exec null)').argParser(
        parseSerial,
      ),
    )
    .addOption(new Option('-t, --timeout <seconds>', 'end the guest after this time, status 124').argParser(parseTimeout))
    .option(
      '--code-cache <folder>',
      'keep what is compiled of guest code for later runs, which are then fast from the start; none: do not (default: a folder in your cache)',
    )
    .option('--stats', 'print counters and times to stderr at the end: tiers, regions, exits, helpers')
    .addOption(
      new Option(
        '--dump-jit <gva[:file]>',
        'write the first compiled region that holds this guest-virtual address, as guest code beside its WebAssembly, to stderr or a file',
      ).argParser(parseJitDump),
    )
    .addHelpText('after', EXAMPLES)
    .allowExcessArguments(false)
    .exitOverride();
}

const codeCacheOf = (folder: string | undefined): CodeCache =>
  folder === undefined ? { folder: join(cacheFolder(), 'code'), given: false } : { folder, given: true };

/** What is for a kernel, and has no meaning for firmware. */
function checkBios(raw: RawOptions): void {
  const given = (['kernel', 'initrd', 'append', 'debian', 'exec'] as const).find((name) => raw[name] !== undefined);
  const option = given ?? (raw.file.length > 0 ? 'file' : undefined);
  if (option !== undefined) throw new RunnerError('RUNNER_USAGE', `--bios starts firmware, which takes no --${option}`);
}

function toRunOptions(raw: RawOptions): RunOptions {
  if (raw.bios !== undefined) checkBios(raw);
  if (raw.exec !== undefined && raw.exec.trim() === '') throw new RunnerError('RUNNER_USAGE', '--exec needs a command');
  if (raw.exec !== undefined && raw.initrd === 'none')
    throw new RunnerError('RUNNER_USAGE', '--exec needs an initramfs, --initrd none leaves it out');
  if (raw.dumpJit !== undefined && raw.tier === 'interp')
    throw new RunnerError('RUNNER_USAGE', '--dump-jit needs compiled code, --tier interp makes none');
  if (raw.exec?.includes('\0')) throw new RunnerError('RUNNER_USAGE', '--exec holds a NUL character');
  return {
    append: raw.append ?? '',
    memoryBytes: raw.memory,
    cpus: raw.cpus,
    // One processor has nobody to run beside.
    inline: raw.inline ?? raw.cpus === 1,
    deterministic: raw.deterministic ?? false,
    cpu: raw.cpu,
    tier: raw.tier,
    files: raw.file,
    devices: raw.device,
    serial: raw.serial ?? { kind: raw.exec === undefined ? 'stdio' : 'null' },
    stats: raw.stats ?? false,
    ...(raw.kernel === undefined ? {} : { kernel: raw.kernel }),
    ...(raw.bios === undefined ? {} : { bios: raw.bios }),
    ...(raw.initrd === undefined ? {} : { initrd: raw.initrd }),
    ...(raw.debian === undefined ? {} : { debian: raw.debian }),
    ...(raw.exec === undefined ? {} : { exec: raw.exec }),
    ...(raw.dumpJit === undefined ? {} : { dumpJit: raw.dumpJit }),
    ...(raw.codeCache === 'none' ? {} : { codeCache: codeCacheOf(raw.codeCache) }),
    ...(raw.timeout === undefined ? {} : { timeoutMs: raw.timeout }),
  };
}

/** "error: unknown option '--foo'\n(Did you mean --bar?)" → "unknown option '--foo' (did you mean --bar?)". */
function usageMessage(error: CommanderError): string {
  const [first, ...more] = error.message.split('\n');
  const hint = more.find((line) => line.startsWith('(Did you mean'));
  return oneLine(first.replace(/^error: /, '')) + (hint === undefined ? '' : ` ${hint.replace('Did', 'did')}`);
}
