/** Locked instructions of processors that run at the same time, each on a thread of its own. */
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { LongModeMachine } from '../system/long-mode.ts';
import { type Case, casesOf } from './places.ts';
import { COUNTER, codeOf, LOCKS, PROGRAMS } from './programs.ts';
import { CPUS, type Job, type Report } from './vcpu.ts';

const MiB = 1 << 20;
const EACH = 64 * MiB;
const WORDS_AT = 0x1000;
const LIMIT_MS = 60_000;
const MANY_ROUNDS = 20_000_000;

type Options = Pick<Job, 'exclusive' | 'heat' | 'looks'>;

/** Runs the cases on two threads; what is wrong afterwards, and the reports. */
async function run(cases: readonly Case[], options: Options) {
  const memory = new WebAssembly.Memory({ initial: ((1 + CPUS) * EACH) >> 16, maximum: 65536, shared: true });
  const machine = new LongModeMachine({ shared: { memory, start: 0x1_0000, end: EACH } });
  const { physRoot, slotTable } = machine.guest;
  for (const { program, address } of cases) machine.setU64(address(0), program.initial ?? 0n);
  const workers: Worker[] = [];
  const report = (cpu: number): Promise<Report> => {
    const workerData: Job = {
      ...{ memory, attach: { physRoot, slotTable }, words: WORDS_AT, cpu, ...options },
      start: (1 + cpu) * EACH,
      end: (2 + cpu) * EACH,
      programs: cases.map(({ program, size, address, code, n }) => ({
        address: code(cpu),
        code: codeOf(program, size, cpu, address(cpu), n),
      })),
    };
    const worker = new Worker(new URL('./vcpu.ts', import.meta.url), {
      workerData,
      execArgv: ['--conditions=tsvisor-source', '--no-warnings'],
    });
    workers.push(worker);
    return new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  };
  try {
    const reports = await Promise.all([report(0), report(1)]);
    const wrong = cases.flatMap(({ program, size, place, n, address }, i) => {
      const bits = 8 * size;
      const word = BigInt.asUintN(bits, machine.u64(address(0)) | (machine.u64(address(0) + 8) << 64n));
      const count = machine.u32(address(0) + COUNTER);
      const text =
        program.wrong(
          word,
          reports.map(({ registers }) => registers[i]),
          n,
          bits,
        ) ?? (LOCKS.has(program.name) && count !== 2 * n ? `the counter is ${count} instead of ${2 * n}` : undefined);
      return text === undefined ? [] : [`${program.name}, ${bits} bits, ${place.name}: ${text}`];
    });
    return { wrong, reports };
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

describe('locked instructions on two threads', () => {
  const cases = casesOf(PROGRAMS);

  it.each([
    ['interpreted', undefined, undefined],
    ['compiled', 1, undefined],
    ['interpreted, others stopped by generated code', undefined, 10_000],
    ['compiled, others stopped by generated code', 1, 10_000],
    ['compiled, others stopped by generated code that gives up soon', 1, 3],
  ])(
    'are atomic with every size and alignment, %s',
    async (_name, heat, looks) => {
      const { wrong, reports } = await run(cases, { exclusive: true, heat, looks });
      expect(wrong).toEqual([]);
      for (const { compiled } of reports)
        if (heat === undefined) expect(compiled).toBe(0);
        else expect(compiled).toBeGreaterThan(1_000_000);
    },
    LIMIT_MS,
  );

  it(
    'would not be so without',
    async () => {
      // So many rounds that a thread is interrupted between its load and its store, even where both share a core.
      const additions = cases.flatMap((one) =>
        one.program.name === 'add' && one.place.name === 'aligned' ? [{ ...one, n: MANY_ROUNDS }] : [],
      );
      let wrong: readonly string[] = [];
      for (let tries = 0; tries < 5 && wrong.length === 0; tries++)
        ({ wrong } = await run(additions, { exclusive: false, heat: 1, looks: undefined }));
      expect(wrong).not.toEqual([]);
    },
    LIMIT_MS,
  );
});
