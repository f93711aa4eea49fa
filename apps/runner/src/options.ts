import { RunnerError } from './errors.ts';

export type DebianArch = 'amd64' | 'i386';
/** Where the guest's console goes. */
export type SerialTarget =
  | { readonly kind: 'stdio' }
  | { readonly kind: 'null' }
  | { readonly kind: 'file'; readonly path: string };
/** A host file or folder that is copied into the initramfs. */
export type GuestFile = { readonly host: string; readonly guest: string };

/** The region to show, by a guest-virtual address that it holds; without a file on standard error. */
export type JitDump = { readonly gva: bigint; readonly file?: string };

/** How guest code is run. */
export const TIERS = ['auto', 'jit', 'interp'] as const;
export type Tier = (typeof TIERS)[number];

export type RunOptions = {
  readonly kernel?: string;
  /** A file; `none` boots without one; undefined means the built-in busybox. */
  readonly initrd?: string;
  readonly append: string;
  readonly memoryBytes: number;
  readonly cpu: string;
  readonly tier: Tier;
  readonly debian?: DebianArch;
  readonly exec?: string;
  readonly files: readonly GuestFile[];
  readonly serial: SerialTarget;
  /** Milliseconds. */
  readonly timeoutMs?: number;
  readonly stats: boolean;
  readonly dumpJit?: JitDump;
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
  if (text === 'amd64' || text === 'i386') return text;
  throw new RunnerError('RUNNER_USAGE', `--debian '${text}' is none of amd64, i386`);
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
