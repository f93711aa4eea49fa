/** memtest86+ from Debian's package, entered by the Linux boot protocol, with its screen on the serial port. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from '@tsvisor/scripts/debian-packages';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const PACKAGE = 'memtest86+';

/** Where the program is, or why there is none. */
export async function findMemtest(): Promise<{ readonly file: string } | { readonly missing: string }> {
  const { find, missing } = await ensurePackages([PACKAGE]);
  const file = find('boot/memtest86+x64.bin');
  return file === undefined ? { missing: missing.get(PACKAGE) ?? 'the package has no x64 image' } : { file };
}

export type Screen = {
  /** Passes completed, errors found, per cent of the present pass; undefined before it says so. */
  readonly passes: number;
  readonly errors: number | undefined;
  readonly percent: number;
  /** Highest number of a test that has begun, -1 before the first. */
  readonly test: number;
};

/** The last of each that the escape sequences and text on the serial port say. */
function readScreen(text: string): Screen {
  const last = (pattern: RegExp): number | undefined => {
    const found = [...text.matchAll(pattern)].at(-1)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  const tests = [...text.matchAll(/ #(\d+) +\[/g)].map(([, n]) => Number(n));
  return {
    passes: last(/Pass: +(\d+) /g) ?? 0,
    errors: last(/Errors: (\d+)/g),
    percent: last(/\x1b\[2;35H(?:\x1b\[0m)? *(\d+)%/g) ?? 0,
    test: Math.max(-1, ...tests),
  };
}

/**
 * Runs it on 64 MB until `done` says so, or the seconds are over; resolves with the last screen. `onScreen` is called about every second.
 */
export async function runMemtest(
  file: string,
  seconds: number,
  done: (screen: Screen) => boolean,
  onScreen?: (screen: Screen) => void,
): Promise<Screen> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvisor-memtest-'));
  const output = join(folder, 'serial');
  const args = ['run', '--kernel', file, '--initrd', 'none', '--memory', '64M', '--append', 'console=ttyS0,115200 nosmp'];
  const guest = spawn(process.execPath, ['--conditions=tsvisor-source', main, ...args, '--serial', `file:${output}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  guest.stderr.on('data', (bytes) => {
    complaint += bytes;
  });
  const ended = new Promise<number | null>((resolve) => void guest.on('exit', resolve));
  try {
    const end = performance.now() + 1000 * seconds;
    for (;;) {
      await Promise.race([sleep(1000), ended]);
      const screen = readScreen(readText(output));
      onScreen?.(screen);
      if (guest.exitCode !== null) throw new Error(`the guest ended with status ${guest.exitCode}: ${complaint}`);
      if (done(screen) || performance.now() > end) return screen;
    }
  } finally {
    guest.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
