import { BootError } from './errors.ts';

/**
 * The `newc` cpio format that Linux unpacks as its initramfs (Documentation/driver-api/early-userspace/buffer-format.rst):
 * "070701", thirteen 8-digit hexadecimal fields, the name, the data, each padded to 4 bytes.
 */
const MAGIC = '070701';
const HEADER_SIZE = 110;
const TRAILER = 'TRAILER!!!';

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const S_IFMT = 0o170000;

/** A path has no leading slash; `mode` holds the permission bits only. */
export type CpioEntry =
  | { readonly type: 'file'; readonly path: string; readonly data: Uint8Array | string; readonly mode?: number }
  | { readonly type: 'dir'; readonly path: string; readonly mode?: number }
  | { readonly type: 'symlink'; readonly path: string; readonly target: string }
  | {
      readonly type: 'char' | 'block';
      readonly path: string;
      readonly major: number;
      readonly minor: number;
      readonly mode?: number;
    };

const encoder = new TextEncoder();

/**
 * Writes an archive. Everything belongs to root at time 0, inode numbers count from 1 in the given order: the same entries give
 * the same bytes. The length is a multiple of 4, so archives may be concatenated, which the kernel unpacks one after the other.
 * @throws BootError BOOT_BAD_CPIO for a path the format cannot hold
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  entries.forEach((entry, i) => {
    const path = checkPath(entry.path);
    parts.push(...record(i + 1, path, fieldsOf(entry)));
  });
  parts.push(...record(0, TRAILER, { mode: 0, nlink: 1, data: new Uint8Array(0), major: 0, minor: 0 }));
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function checkPath(path: string): string {
  const parts = path.split('/');
  if (
    path === '' ||
    path === TRAILER ||
    path.includes('\0') ||
    parts.some((part) => part === '' || part === '.' || part === '..')
  )
    throw new BootError('BOOT_BAD_CPIO', `not a path for an initramfs: ${JSON.stringify(path)}`);
  return path;
}

type Fields = { mode: number; nlink: number; data: Uint8Array; major: number; minor: number };

function fieldsOf(entry: CpioEntry): Fields {
  const plain = { nlink: 1, data: new Uint8Array(0), major: 0, minor: 0 };
  switch (entry.type) {
    case 'file': {
      const data = typeof entry.data === 'string' ? encoder.encode(entry.data) : entry.data;
      return { ...plain, mode: S_IFREG | (entry.mode ?? 0o644), data };
    }
    case 'dir':
      return { ...plain, mode: S_IFDIR | (entry.mode ?? 0o755), nlink: 2 };
    case 'symlink':
      return { ...plain, mode: S_IFLNK | 0o777, data: encoder.encode(entry.target) };
    case 'char':
      return { ...plain, mode: S_IFCHR | (entry.mode ?? 0o600), major: entry.major, minor: entry.minor };
    case 'block':
      return { ...plain, mode: S_IFBLK | (entry.mode ?? 0o600), major: entry.major, minor: entry.minor };
  }
}

function record(inode: number, path: string, fields: Fields): Uint8Array[] {
  const name = encoder.encode(path);
  if (fields.data.length > 0xffff_ffff) throw new BootError('BOOT_BAD_CPIO', `${path} is too large for an initramfs`);
  const values = [
    inode,
    fields.mode,
    0, // uid
    0, // gid
    fields.nlink,
    0, // mtime
    fields.data.length,
    0, // device of the archive
    0,
    fields.major,
    fields.minor,
    name.length + 1,
    0, // check: only in the 070702 form
  ];
  const text = MAGIC + values.map((value) => value.toString(16).padStart(8, '0').toUpperCase()).join('');
  const head = new Uint8Array(align4(HEADER_SIZE + name.length + 1));
  head.set(encoder.encode(text));
  head.set(name, HEADER_SIZE);
  const padding = align4(fields.data.length) - fields.data.length;
  return padding === 0 ? [head, fields.data] : [head, fields.data, new Uint8Array(padding)];
}

/**
 * Reads a `newc` archive's entries up to its trailer; ownership, times and link counts are not kept.
 * @throws BootError BOOT_BAD_CPIO
 */
export function readCpio(archive: Uint8Array): CpioEntry[] {
  const entries: CpioEntry[] = [];
  const latin1 = new TextDecoder('latin1');
  let at = 0;
  for (;;) {
    if (at + HEADER_SIZE > archive.length) throw new BootError('BOOT_BAD_CPIO', 'the cpio archive is truncated');
    const header = latin1.decode(archive.subarray(at, at + HEADER_SIZE));
    if (!/^07070[12][0-9A-Fa-f]{104}$/.test(header)) throw new BootError('BOOT_BAD_CPIO', 'not a newc cpio archive');
    const field = (index: number): number => Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
    const dataAt = at + align4(HEADER_SIZE + field(11));
    const end = dataAt + field(6);
    if (field(11) === 0 || end > archive.length) throw new BootError('BOOT_BAD_CPIO', 'the cpio archive is truncated');
    const path = new TextDecoder().decode(archive.subarray(at + HEADER_SIZE, at + HEADER_SIZE + field(11) - 1));
    if (path === TRAILER) return entries;
    const data = archive.subarray(dataAt, end);
    const entry = entryOf(path, field(1), data, field(9), field(10));
    if (entry !== undefined) entries.push(entry);
    at += align4(end - at);
  }
}

function entryOf(path: string, mode: number, data: Uint8Array, major: number, minor: number): CpioEntry | undefined {
  const permissions = mode & 0o7777;
  switch (mode & S_IFMT) {
    case S_IFREG:
      return { type: 'file', path, data, mode: permissions };
    case S_IFDIR:
      return { type: 'dir', path, mode: permissions };
    case S_IFLNK:
      return { type: 'symlink', path, target: new TextDecoder().decode(data) };
    case S_IFCHR:
      return { type: 'char', path, major, minor, mode: permissions };
    case S_IFBLK:
      return { type: 'block', path, major, minor, mode: permissions };
    default:
      return undefined;
  }
}

const align4 = (n: number): number => Math.ceil(n / 4) * 4;
