import { type CpioEntry, writeCpio } from '@tsvisor/boot';

export type InitramfsParts = {
  /** The script guest/init. */
  readonly init: Uint8Array;
  readonly busybox: Uint8Array;
  /** The workloads' programs; without them only boots can be measured. */
  readonly programs?: { readonly bench: Uint8Array; readonly bench387: Uint8Array };
};

/** The initramfs of all measurements: an init that says when it runs, then runs the workloads that the command line names. */
export function benchInitramfs({ init, busybox, programs }: InitramfsParts): Uint8Array {
  const dirs = ['bin', 'proc', 'sys', 'dev', 'tmp'].map((path): CpioEntry => ({ type: 'dir', path }));
  return writeCpio([
    ...dirs,
    { type: 'char', path: 'dev/console', major: 5, minor: 1 },
    { type: 'char', path: 'dev/null', major: 1, minor: 3 },
    { type: 'char', path: 'dev/ttyS0', major: 4, minor: 64 },
    { type: 'file', path: 'init', data: init, mode: 0o755 },
    { type: 'file', path: 'bin/busybox', data: busybox, mode: 0o755 },
    { type: 'symlink', path: 'bin/sh', target: 'busybox' },
    ...Object.entries(programs ?? {}).map(([path, data]): CpioEntry => ({ type: 'file', path, data, mode: 0o755 })),
  ]);
}
