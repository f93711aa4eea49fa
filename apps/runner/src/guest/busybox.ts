import { type CpioEntry, writeCpio } from '@tsvisor/boot';
import { RunnerError } from '../errors.ts';

/** The table of applet names begins with the two names of `test`, because it is sorted. */
const TABLE_START = '\0[\0[[\0';

/** Names of the applets that a busybox binary holds, read from the binary itself: it may be for another processor than the host's. */
export function appletsOf(busybox: Uint8Array): string[] {
  const bytes = Buffer.from(busybox.buffer, busybox.byteOffset, busybox.byteLength);
  const start = bytes.indexOf(TABLE_START, 0, 'latin1');
  const end = start === -1 ? -1 : bytes.indexOf('\0\0', start + 1, 'latin1');
  const names = end === -1 ? [] : bytes.toString('latin1', start + 1, end).split('\0');
  const valid = names.filter((name) => /^[a-z0-9_.+[-]{1,32}$/i.test(name));
  if (valid.length < 20 || !valid.includes('sh'))
    throw new RunnerError('RUNNER_FETCH', 'the busybox that was fetched has no table of applets');
  return valid;
}

/** The part of the initramfs that is the same at every start: folders, busybox and a link per applet. */
export function baseInitramfs(busybox: Uint8Array): Uint8Array {
  const dir = (path: string, mode = 0o755): CpioEntry => ({ type: 'dir', path, mode });
  const applets = appletsOf(busybox).filter((name) => name !== 'busybox');
  return writeCpio([
    ...['bin', 'dev', 'etc', 'mnt', 'proc', 'run', 'sys', 'usr', 'usr/local', 'usr/local/bin', 'var'].map((path) => dir(path)),
    dir('root', 0o700),
    dir('tmp', 0o1777),
    { type: 'symlink', path: 'sbin', target: 'bin' },
    { type: 'symlink', path: 'usr/bin', target: '../bin' },
    { type: 'symlink', path: 'usr/sbin', target: '../bin' },
    // The kernel opens these before anything mounts devtmpfs.
    { type: 'char', path: 'dev/console', major: 5, minor: 1, mode: 0o600 },
    { type: 'char', path: 'dev/null', major: 1, minor: 3, mode: 0o666 },
    { type: 'file', path: 'etc/passwd', data: 'root:x:0:0:root:/root:/bin/sh\n' },
    { type: 'file', path: 'etc/group', data: 'root:x:0:\n' },
    { type: 'file', path: 'bin/busybox', data: busybox, mode: 0o755 },
    ...applets.map((name): CpioEntry => ({ type: 'symlink', path: `bin/${name}`, target: 'busybox' })),
  ]);
}
