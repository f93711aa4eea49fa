import { lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type CpioEntry, writeCpio } from '@tsvisor/boot';
import { fileError } from '../errors.ts';
import type { GuestFile } from '../options.ts';
import { INIT_SCRIPT } from './init.ts';

export type OverlayConfig = {
  readonly token: string;
  readonly command?: string;
  readonly terminal: { readonly rows: number; readonly columns: number; readonly term: string };
  readonly files: readonly GuestFile[];
  /** Make our init the guest's /init. Not for an initramfs of the user's, which keeps its own. */
  readonly replaceInit: boolean;
};

/** Folders that the base initramfs has, some of them as links: naming them again would replace the link by an empty folder. */
const BASE_FOLDERS = new Set([
  'bin',
  'dev',
  'etc',
  'mnt',
  'proc',
  'root',
  'run',
  'sbin',
  'sys',
  'tmp',
  'usr',
  'usr/bin',
  'usr/sbin',
  'usr/local',
  'usr/local/bin',
  'var',
]);

/** The part of the initramfs that belongs to one start. The kernel unpacks it after, and over, what comes before it. */
export function overlayArchive(config: OverlayConfig): Uint8Array {
  const { rows, columns, term } = config.terminal;
  const entries: CpioEntry[] = [
    { type: 'dir', path: '.tsvisor', mode: 0o700 },
    { type: 'file', path: '.tsvisor/init', data: INIT_SCRIPT, mode: 0o755 },
    { type: 'file', path: '.tsvisor/token', data: `${config.token}\n`, mode: 0o600 },
    { type: 'file', path: '.tsvisor/terminal', data: `${rows} ${columns} ${term.replace(/[^\w.+-]/g, '') || 'linux'}\n` },
  ];
  if (config.command !== undefined) entries.push({ type: 'file', path: '.tsvisor/command', data: config.command });
  if (config.replaceInit) entries.push({ type: 'symlink', path: 'init', target: '.tsvisor/init' });
  const folders = new Set(BASE_FOLDERS);
  for (const file of config.files) {
    addParents(entries, folders, file.guest);
    try {
      addHostPath(entries, file.host, file.guest, true);
    } catch (error) {
      throw fileError(`cannot read ${file.host} for --file`, error);
    }
  }
  return writeCpio(entries);
}

function addParents(entries: CpioEntry[], folders: Set<string>, path: string): void {
  const parts = path.split('/').slice(0, -1);
  for (let n = 1; n <= parts.length; n++) {
    const folder = parts.slice(0, n).join('/');
    if (folders.has(folder)) continue;
    folders.add(folder);
    entries.push({ type: 'dir', path: folder });
  }
}

/** Files, folders and links as they are on the host; the named path itself is followed if it is a link. */
function addHostPath(entries: CpioEntry[], host: string, guest: string, follow: boolean): void {
  const stat = follow ? statSync(host) : lstatSync(host);
  const mode = stat.mode & 0o7777;
  if (stat.isDirectory()) {
    if (!BASE_FOLDERS.has(guest)) entries.push({ type: 'dir', path: guest, mode });
    for (const name of readdirSync(host).sort()) addHostPath(entries, join(host, name), `${guest}/${name}`, false);
  } else if (stat.isSymbolicLink()) {
    entries.push({ type: 'symlink', path: guest, target: readlinkSync(host) });
  } else if (stat.isFile()) {
    entries.push({ type: 'file', path: guest, data: readFileSync(host), mode });
  }
}

/** Joins archives for the kernel: each may be compressed, and each begins on a multiple of 4 (buffer-format.rst). */
export function joinArchives(first: Uint8Array, second: Uint8Array): Uint8Array {
  const at = Math.ceil(first.length / 4) * 4;
  const joined = new Uint8Array(at + second.length);
  joined.set(first);
  joined.set(second, at);
  return joined;
}
