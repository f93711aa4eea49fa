/**
 * Real programs as witnesses: what they print in a guest is what they print on the host's processor. They come from Debian's packages; where
 * those cannot be had, or no chroot can be entered, the tests are skipped, and their title says why.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isNear } from './witness/hex-float.ts';
import { guestTree, inChroot, makeWitness, PYTHON_TESTS, SOURCE_LINES, witnessTree } from './witness/tree.ts';

const TIMEOUT = 900_000;
const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const tree = await witnessTree();
const missing = 'missing' in tree ? tree.missing : undefined;
const folder = mkdtempSync(join(tmpdir(), 'tsvisor-witness-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const DIGESTS = ['md5', 'sha1', 'sha256', 'sha512', 'sha3-256', 'blake2b512', 'sm3'];
const CIPHERS = ['aes-128-cbc', 'aes-256-ctr', 'camellia-128-cbc', 'aria-128-ctr', 'chacha20'];
const key = (bytes: number): string => '0123456789abcdef'.repeat(bytes / 8);
const KEY_BYTES: Readonly<Record<string, number>> = { 'aes-256-ctr': 32, chacha20: 32 };

const encrypt = (cipher: string): string =>
  `openssl enc -${cipher} -K ${key(KEY_BYTES[cipher] ?? 16)} -iv ${key(16)} -in /witness/random | openssl dgst -sha256`;
/** How many tests ran and how they ended, without how long it took. */
const python = (name: string): string =>
  `python3.11 -m test -v test_${name} 2>&1 | grep -E "^(Ran|OK|FAILED|ERROR|FAIL:|Tests result)" | sed "s/ in [0-9.]*s$//"`;

/**
 * Lines that begin with ~ are of transcendental functions: SDM vol. 1 §8.3.10 lets each x87 instruction err by a unit in the last place, and
 * processors do so differently; some functions are made of several.
 */
function sameButForLastPlaces(guest: string, native: string): void {
  const exact = (text: string): string => text.replaceAll(/^~.*$/gm, '~');
  expect(exact(guest)).toBe(exact(native));
  const numbers = (text: string): string[] => (text.match(/^~.*$/gm) ?? []).flatMap((line) => line.split(' '));
  const expected = numbers(native);
  const far = numbers(guest).flatMap((number, n) => (isNear(number, expected[n], 4) ? [] : [`${number}, not ${expected[n]}`]));
  expect(far).toEqual([]);
}

/** Runs a command in the guest, in the same folder of programs. */
function inGuest(command: string) {
  const setUp = [
    'mount -t proc proc /tree/proc',
    'mount -t devtmpfs dev /tree/dev',
    'mount -t tmpfs tmp /tree/tmp',
    `PATH=/usr/bin:/bin LC_ALL=C.UTF-8 chroot /tree /bin/dash -c '${command.replaceAll("'", `'\\''`)}'`,
  ];
  const args = ['run', '--cpu', 'max', '--memory', '1G', '--file', `${folder}/tree:/tree`, '--exec', setUp.join(' && ')];
  return spawnSync(process.execPath, ['--conditions=tsvisor-source', main, ...args], {
    encoding: 'utf8',
    timeout: TIMEOUT,
    maxBuffer: 1 << 26,
  });
}

describe.skipIf(missing !== undefined)(
  `real programs in the guest${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  () => {
    const root = 'root' in tree ? tree.root : '';
    beforeAll(() => {
      makeWitness(root);
      guestTree(root, join(folder, 'tree'));
    }, TIMEOUT);

    const same = (guest: string, native: string): void => expect(guest).toBe(native);
    const witness = (title: string, command: string, check: (output: string) => void, compare = same): void =>
      void it(
        title,
        () => {
          const native = inChroot(root, command);
          expect(native.status, native.stderr).toBe(0);
          check(native.stdout);
          const guest = inGuest(command);
          compare(guest.stdout, native.stdout);
          expect(guest.stderr).toBe('');
          expect(guest.status).toBe(0);
        },
        TIMEOUT,
      );

    witness(
      'OpenSSL: digests and ciphers',
      [...DIGESTS.map((name) => `openssl dgst -${name} /witness/random`), ...CIPHERS.map(encrypt)].join(' && '),
      (output) => expect(output.match(/= [0-9a-f]{32,}$/gm)?.length).toBe(DIGESTS.length + CIPHERS.length),
    );

    witness('a C++ program: exceptions, containers, regular expressions, streams', '/witness/shapes', (output) =>
      expect(output).toContain('u7 u6 u5 u4 u3 u2 u1 u0 seven'),
    );

    witness(
      'a program that computes and prints long doubles in every rounding mode',
      '/witness/long-double',
      (output) => expect(output.split('\n').length).toBe(7 * 400 + 60 + 1),
      sameButForLastPlaces,
    );

    witness(
      `Python's own tests of ${PYTHON_TESTS.join(', ')}`,
      PYTHON_TESTS.map((name) => `echo ${name}; ${python(name)}`).join('; '),
      (output) => expect(output.match(/^Tests result: SUCCESS$/gm)?.length).toBe(PYTHON_TESTS.length),
    );

    witness(
      `gcc makes the same object of a file of ${SOURCE_LINES} lines`,
      'cd /witness && wc -l < many-lines.c && gcc-12 -O1 -c -o /tmp/many-lines.o many-lines.c && sha256sum /tmp/many-lines.o',
      (output) => expect(output).toMatch(new RegExp(`^${SOURCE_LINES}\\n[0-9a-f]{64} `)),
    );

    it(
      "OpenSSL's speed test, which measures, runs to its end",
      () => {
        const command = 'openssl speed -elapsed -seconds 1 -bytes 1024 sha256 aes-128-cbc rsa2048 ecdhx25519 2>&1';
        const { status, stdout } = inGuest(command);
        expect(stdout).toMatch(/^sha256 +[\d.]+k$/m);
        expect(stdout).toMatch(/^aes-128-cbc +[\d.]+k$/m);
        expect(stdout).toMatch(/^rsa +2048 bits +[\d.]+s/m);
        expect(stdout).toMatch(/X25519/);
        expect(status).toBe(0);
      },
      TIMEOUT,
    );
  },
);
