import { RunnerError } from './errors.ts';

/** Which of Debian's kernels; i386-pae is the 32-bit one that pages with PAE, as NX and more than 4 GiB need it. */
export type DebianArch = 'amd64' | 'i386' | 'i386-pae';
/** Where the guest's console goes. */
export type SerialTarget =
  | { readonly kind: 'stdio' }
  | { readonly kind: 'null' }
  | { readonly kind: 'file'; readonly path: string };
/** A host file or folder that is copied into the initramfs. */
export type GuestFile = { readonly host: string; readonly guest: string };

/** The region to show, by a guest-virtual address that it holds; without a file on standard error. */
export type JitDump = { readonly gva: bigint; readonly file?: string };

/** A device of `--device`, as QEMU's option of that name has it. */
export type DeviceOption =
  | { readonly kind: 'isa-debug-exit'; readonly port: number; readonly size: 1 | 2 | 4 }
  | { readonly kind: 'isa-debugcon'; readonly port: number }
  | { readonly kind: 'pc-testdev' };

/** How guest code is run. */
export const TIERS = ['auto', 'jit', 'interp'] as const;
export type Tier = (typeof TIERS)[number];

/** Where compiled code is kept for later runs. `given`: the user said so, and is told if it cannot be. */
export type CodeCache = { readonly folder: string; readonly given: boolean };

export type RunOptions = {
  readonly kernel?: string;
  /** A ROM instead of a kernel. */
  readonly bios?: string;
  /** A file; `none` boots without one; undefined means the built-in busybox. */
  readonly initrd?: string;
  readonly append: string;
  readonly memoryBytes: number;
  readonly cpus: number;
  /** Processors take turns on one thread. */
  readonly inline: boolean;
  /** Time is counted in instructions, and all else that differs from run to run is fixed. */
  readonly deterministic: boolean;
  readonly cpu: string;
  readonly tier: Tier;
  readonly debian?: DebianArch;
  readonly exec?: string;
  readonly files: readonly GuestFile[];
  readonly devices: readonly DeviceOption[];
  readonly serial: SerialTarget;
  /** Milliseconds. */
  readonly timeoutMs?: number;
  readonly stats: boolean;
  readonly dumpJit?: JitDump;
  readonly codeCache?: CodeCache;
};

const UNIT: Readonly<Record<string, number>> = { '': 2 ** 20, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** "512M", "1G", "65536K"; a plain number is MiB, as with QEMU's -m. Whole pages. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?$/i.exec(text.trim());
  const bytes = match === null ? Number.NaN : Number(match[1]) * UNIT[match[2].toLowerCase()];
  if (!Number.isFinite(bytes) || bytes < 4096)
    throw new RunnerError('RUNNER_USAGE', `--memory '${text}' is not a size; write for example 512M or 1G`);
  return Math.floor(bytes / 4096) * 4096;
}

const MAX_CPUS = 254;

/** A number of processors. */
export function parseCpus(text: string): number {
  const count = /^\d+$/.test(text.trim()) ? Number(text) : 0;
  if (count < 1 || count > MAX_CPUS)
    throw new RunnerError('RUNNER_USAGE', `--cpus '${text}' is not a number of processors, 1 to ${MAX_CPUS}`);
  return count;
}

/** Seconds, fractions allowed. */
export function parseTimeout(text: string): number {
  const seconds = /^\d+(?:\.\d+)?s?$/.test(text.trim()) ? Number.parseFloat(text) : Number.NaN;
  // A timer cannot wait longer than 2³¹ − 1 ms.
  if (!(seconds > 0) || seconds * 1000 > 0x7fff_ffff)
    throw new RunnerError('RUNNER_USAGE', `--timeout '${text}' is not a number of seconds`);
  return Math.ceil(seconds * 1000);
}

export function parseSerial(text: string): SerialTarget {
  if (text === 'stdio' || text === 'null') return { kind: text };
  if (text.startsWith('file:') && text.length > 5) return { kind: 'file', path: text.slice(5) };
  throw new RunnerError('RUNNER_USAGE', `--serial '${text}' is none of stdio, null, file:PATH`);
}

export function parseDebian(text: string): DebianArch {
  if (text === 'amd64' || text === 'i386' || text === 'i386-pae') return text;
  throw new RunnerError('RUNNER_USAGE', `--debian '${text}' is none of amd64, i386, i386-pae`);
}

/** "HOST" or "HOST:GUEST"; without GUEST, or with one that ends in a slash, the file keeps its name. */
export function parseFile(text: string): GuestFile {
  const colon = text.lastIndexOf(':');
  const host = colon === -1 ? text : text.slice(0, colon);
  const place = colon === -1 ? '/' : text.slice(colon + 1);
  const parts = place.split('/').filter((part) => part !== '');
  if (place.endsWith('/')) parts.push(host.replace(/\/+$/, '').split('/').at(-1) ?? '');
  if (host === '' || parts.length === 0 || parts.some((part) => part === '' || part === '.' || part === '..'))
    throw new RunnerError('RUNNER_USAGE', `--file '${text}' is not HOST or HOST:GUEST`);
  return { host, guest: parts.join('/') };
}

/** "0xffffffff81000000" or decimal, and perhaps ":FILE". */
export function parseJitDump(text: string): JitDump {
  const [, number, file] = /^(0x[0-9a-f]+|\d+)(?::(.+))?$/i.exec(text.trim()) ?? [];
  const gva = number === undefined ? -1n : BigInt(number);
  if (gva < 0n || gva >= 1n << 64n)
    throw new RunnerError(
      'RUNNER_USAGE',
      `--dump-jit '${text}' is not ADDRESS or ADDRESS:FILE; write for example 0xffffffff81000000`,
    );
  return { gva, ...(file === undefined ? {} : { file }) };
}

/** The properties of each device, and what they are when they are not given. */
const DEVICES: Readonly<Record<DeviceOption['kind'], Readonly<Record<string, number>>>> = {
  'isa-debug-exit': { iobase: 0xf4, iosize: 4 },
  'isa-debugcon': { iobase: 0xe9 },
  'pc-testdev': {},
};
const isDevice = (name: string): name is DeviceOption['kind'] => Object.hasOwn(DEVICES, name);

/** "isa-debug-exit,iobase=0xf4,iosize=4". */
export function parseDevice(text: string): DeviceOption {
  const [name, ...given] = text.split(',');
  const wrong = (why: string): RunnerError => new RunnerError('RUNNER_USAGE', `--device '${text}': ${why}`);
  if (!isDevice(name)) throw wrong(`no such device (there are ${Object.keys(DEVICES).join(', ')})`);
  const properties: Record<string, number> = { ...DEVICES[name] };
  for (const property of given) {
    const [, key, number] = /^(\w+)=(0x[0-9a-f]+|\d+)$/i.exec(property) ?? [];
    if (key === undefined) throw wrong(`'${property}' is not a property with a number; write for example iobase=0xf4`);
    if (!Object.hasOwn(properties, key))
      throw wrong(`it has no property '${key}' (but ${Object.keys(properties).join(', ') || 'none at all'})`);
    properties[key] = Number(number);
  }
  if (name === 'pc-testdev') return { kind: name };
  const { iobase: port, iosize: size } = properties;
  if (name === 'isa-debugcon') {
    if (port > 0xffff) throw wrong('iobase is not a port, 0 to 0xffff');
    return { kind: name, port };
  }
  if (size !== 1 && size !== 2 && size !== 4) throw wrong('iosize is none of 1, 2, 4');
  if (port + size > 0x1_0000) throw wrong('iobase is not a port, 0 to 0xffff');
  return { kind: name, port, size };
}
