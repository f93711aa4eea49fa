/** The command with several processors, the real engine and Debian's real kernels. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { COMPLAINTS, debian, tsvisor as runTsvisor, title } from './debian-guest.ts';

const BOOT_TIMEOUT = 300_000;
function tsvisor(args: readonly string[]) {
  const { status, stdout, stderr } = runTsvisor(args, BOOT_TIMEOUT);
  return { status, lines: stdout.trimEnd().split('\n'), stderr };
}

const amd64 = await debian('amd64');
const i386 = await debian('i386');

/** Work for all processors at once whose results say whether it was done right: pipes, processes, and files that they share. */
const WORK = [
  'for i in 1 2 3 4 5 6; do seq 1 20000 | sed s/^/x/ | sha256sum > /tmp/$i & done',
  'wait',
  'cat /tmp/[1-6] | sort -u',
  'for i in 1 2 3 4; do (for j in $(seq 1 40); do /bin/true; done; echo done) & done',
  'wait',
].join('\n');
const expectedSum = createHash('sha256')
  .update(Array.from({ length: 20_000 }, (_, n) => `x${n + 1}\n`).join(''))
  .digest('hex');

function boots(args: readonly string[], cpus: number): void {
  const script = `nproc; grep -c ^processor /proc/cpuinfo; ${WORK}\ndmesg; exit 3`;
  const { status, lines, stderr } = tsvisor([...args, '--cpus', String(cpus), '--exec', script]);
  expect(lines.slice(0, 2)).toEqual([String(cpus), String(cpus)]);
  expect(lines[2]).toBe(`${expectedSum}  -`);
  expect(lines.slice(3, 7)).toEqual(['done', 'done', 'done', 'done']);
  expect(lines.filter((line) => COMPLAINTS.test(line))).toEqual([]);
  expect(stderr).toBe('');
  expect(status).toBe(3);
}

describe.skipIf(typeof amd64 === 'string')(title("Debian's amd64 kernel on several processors", amd64), () => {
  it('with a thread each', () => boots([], 2), BOOT_TIMEOUT);
  it('that take turns on one thread', () => boots(['--inline'], 3), BOOT_TIMEOUT);
  it('more than the host has', () => boots([], 8), BOOT_TIMEOUT);
  it('whose TSCs Linux finds in step', () => boots(['--cpu', 'max,+invtsc'], 4), BOOT_TIMEOUT);
  it(
    'twice in the same way, to the instruction, when time is counted in them',
    () => {
      const script = `${WORK}\ncat /proc/interrupts /proc/stat /proc/uptime; head -c 64 /dev/urandom | sha256sum; date; dmesg`;
      const runs = [1, 2].map(() => {
        const { lines, stderr } = tsvisor(['--deterministic', '--cpus', '2', '--stats', '--exec', script]);
        return { lines, instructions: /instructions +([\d,]+)/.exec(stderr)?.[1] };
      });
      expect(runs[0].lines.length).toBeGreaterThan(100);
      expect(runs[0].instructions).toMatch(/\d,\d{3},\d{3}/);
      expect(runs[1]).toEqual(runs[0]);
    },
    BOOT_TIMEOUT,
  );
  it('with everything interpreted', () => boots(['--tier', 'interp'], 2), BOOT_TIMEOUT);
});

describe.skipIf(typeof i386 === 'string')(title("Debian's i386 kernel on several processors", i386), () => {
  it('with a thread each', () => boots(['--debian', 'i386'], 2), BOOT_TIMEOUT);
});
