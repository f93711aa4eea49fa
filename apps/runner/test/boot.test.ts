/**
 * The command with the real engine and Debian's real kernel. A boot takes seconds, so each test looks at everything its boot can show.
 * Where Debian's packages cannot be had the tests are skipped, and their title says why.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { COMPLAINTS, debian, tsvisor as runTsvisor, title } from './debian-guest.ts';

const BOOT_TIMEOUT = 180_000;
const tsvisor = (args: readonly string[], input = '') => runTsvisor(args, BOOT_TIMEOUT, input);

const amd64 = await debian('amd64');
const i386 = await debian('i386');
const pae = await debian('i386-pae');

describe.skipIf(typeof amd64 === 'string')(title("Debian's amd64 kernel", amd64), () => {
  it(
    'runs a command, prints its output alone, exits with its status; and the kernel has nothing to complain about',
    () => {
      const commands = [
        'uname -m',
        'grep -c ^processor /proc/cpuinfo',
        'cat /sys/devices/system/clocksource/clocksource0/current_clocksource',
        'dmesg',
        'exit 7',
      ];
      const { status, stdout, stderr } = tsvisor(['--exec', commands.join('; ')]);
      const [machine, processors, clock, ...log] = stdout.split('\n');
      expect([machine, processors, clock]).toEqual(['x86_64', '1', 'kvm-clock']);
      expect(log.join('\n')).toContain('Linux version 6.');
      expect(log.length).toBeGreaterThan(100);
      expect(log.filter((line) => COMPLAINTS.test(line))).toEqual([]);
      expect(stderr).toBe('');
      expect(status).toBe(7);
    },
    BOOT_TIMEOUT,
  );

  it(
    'runs in the compiled tier as well',
    () => {
      const { status, stdout, stderr } = tsvisor(['--tier', 'jit', '--exec', 'seq 1 20000 | sha256sum; dmesg; exit 5']);
      const [sum, ...log] = stdout.split('\n');
      const lines = Array.from({ length: 20_000 }, (_, n) => `${n + 1}\n`).join('');
      expect(sum).toBe(`${createHash('sha256').update(lines).digest('hex')}  -`);
      expect(log.filter((line) => COMPLAINTS.test(line))).toEqual([]);
      expect(stderr).toBe('');
      expect(status).toBe(5);
    },
    BOOT_TIMEOUT,
  );

  it(
    'gives a shell that takes input, and powering off is status 0',
    () => {
      const { status, stdout } = tsvisor([], 'echo $((6 * 7))\npoweroff -f\n');
      expect(stdout).toMatch(/^42\r?$/m);
      expect(stdout).toContain('reboot: Power down');
      expect(status).toBe(0);
    },
    BOOT_TIMEOUT,
  );

  it(
    'a triple fault is status 125',
    () => {
      const { status, stderr } = tsvisor(['--append', 'reboot=t'], 'reboot -f\n');
      expect(stderr).toMatch(/triple fault/);
      expect(status).toBe(125);
    },
    BOOT_TIMEOUT,
  );

  it(
    'a run that takes too long is ended with status 124',
    () => {
      const { status, stdout, stderr } = tsvisor(['--timeout', '1', '--exec', 'sleep 1000']);
      expect(stderr).toMatch(/timeout: the guest did not end within 1 s/);
      expect(stdout).toBe('');
      expect(status).toBe(124);
    },
    BOOT_TIMEOUT,
  );

  const folder = mkdtempSync(join(tmpdir(), 'tsvisor-boot-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const truncated = join(folder, 'truncated');
  if (typeof amd64 !== 'string') writeFileSync(truncated, amd64.kernel.subarray(0, 3 << 20));

  it.each([
    [
      'a processor without what the kernel needs',
      ['--cpu', 'max,-sse2'],
      /needs SSE2, which the processor model 'max,-sse2' lacks/,
    ],
    ['an unknown processor model', ['--cpu', 'i4004'], /no CPU model 'i4004'/],
    ['too little memory', ['--memory', '8M'], /the kernel needs at least \d+ MiB of memory, the guest has 8 MiB/],
    ['a kernel that was cut off', ['--kernel', truncated], /truncated/],
  ])('%s: one clear line, status 2', (_, args, message) => {
    const { status, stdout, stderr } = tsvisor(args);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^tsvisor: [^\n]+\n$/);
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });
});

/** The 32-bit kernels: two-level page tables, and PAE's with NX. */
describe.each([
  ['i386', i386, '2'],
  ['i386-pae', pae, '3'],
] as const)('%s', (arch, files, levels) => {
  it.skipIf(typeof files === 'string')(
    title("Debian's kernel boots with the same command, and has nothing to complain about", files),
    () => {
      const { status, stdout, stderr } = tsvisor([
        '--debian',
        arch,
        '--exec',
        'uname -m; grep -c nx /proc/cpuinfo; dmesg; exit 3',
      ]);
      const [machine, nx, ...log] = stdout.split('\n');
      expect([machine, nx]).toEqual(['i686', '1']);
      expect(log.join('\n')).toContain('Linux version 6.');
      // Without PAE entries have no room for NX, and the kernel says so.
      expect(log.some((line) => /NX \(Execute Disable\) protection: active/.test(line))).toBe(levels === '3');
      expect(log.filter((line) => COMPLAINTS.test(line))).toEqual([]);
      expect(stderr).toBe('');
      expect(status).toBe(3);
    },
    BOOT_TIMEOUT,
  );
});
