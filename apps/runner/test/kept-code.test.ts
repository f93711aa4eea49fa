/** What is kept of a guest's compiled code from one run of the command to the next, with Debian's real kernel. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { debian, title, tsvisor } from './debian-guest.ts';

const TIMEOUT = 180_000;
const amd64 = await debian('amd64');
const folder = mkdtempSync(join(tmpdir(), 'tsvisor-kept-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a guest; how many regions it had, and how many of them from earlier runs. */
function run(codeFolder: string, ...args: string[]): { readonly regions: number; readonly kept: number } {
  const { status, stdout, stderr } = tsvisor(
    ['--memory', '256M', '--code-cache', codeFolder, '--stats', ...args, '--exec', 'echo $((6 * 7)) $(nproc)'],
    TIMEOUT,
  );
  const count = (name: string): number => Number(new RegExp(`^  ${name} +([0-9,]+)`, 'm').exec(stderr)?.[1].replaceAll(',', ''));
  expect([status, stdout]).toEqual([0, `42 ${args.includes('2') ? 2 : 1}\n`]);
  return { regions: count('regions'), kept: count('kept') };
}

// A host with one processor compiles where the guest runs, and keeps nothing.
const parallel = availableParallelism() > 1;
describe.skipIf(typeof amd64 === 'string' || !parallel)(
  title('Code kept by the command', parallel ? amd64 : 'the host has one processor'),
  () => {
    it.each([['1'], ['2']])(
      'is there for the next runs of the guest, more from one to the other, with %s processors, and as good after it was damaged',
      (cpus) => {
        const where = join(folder, cpus);
        const first = run(where, '--cpus', cpus);
        expect(first.kept).toBe(0);
        expect(first.regions).toBeGreaterThan(20);
        const second = run(where, '--cpus', cpus);
        expect(second.kept).toBeGreaterThan(first.regions / 2);
        // What is warm in each run was compiled in the second.
        expect(run(where, '--cpus', cpus).kept).toBeGreaterThan(1.5 * second.kept);
        for (const name of readdirSync(where)) {
          const bytes = readFileSync(join(where, name));
          for (let at = 100; at < bytes.length - 50_000; at += 1000) bytes[at] ^= 0x55;
          writeFileSync(join(where, name), bytes);
        }
        run(where, '--cpus', cpus);
      },
      TIMEOUT,
    );

    it(
      'is none if none is wanted, or time is to be counted in instructions',
      () => {
        expect(run('none').kept).toBe(0);
        const where = join(folder, '1');
        expect(run(where, '--deterministic').kept).toBe(0);
      },
      TIMEOUT,
    );
  },
);
