/**
 * The long form of the oracle test: `pnpm soak:oracle --cases 20000000 [--seed N] [--mode 64,32,32s,16s] [--sem add,adc] [--sequences]
 * [--vectors] [--feature sse,sse2] [--atomic]`; `--sequences --rounds 3000 --tier jit` repeats each
 * sequence until it is compiled.
 * Prints progress, and at the end, or at the first failing batch with `--stop`, the failures and the seed that made them.
 */
import { parseArgs } from 'node:util';
import { disassemble } from './disassemble.ts';
import { randomFpState } from './fp-state.ts';
import { hostOracleUnavailable } from './host.ts';
import { failureText, integerRows, type OracleMode, runOracle, runSequences, vectorRows } from './run.ts';
import { createTestMachine, engineHas, type Tier } from './test-machine.ts';

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '20000000' },
    seed: { type: 'string' },
    mode: { type: 'string', default: '64,32,32s,16s' },
    sem: { type: 'string' },
    vectors: { type: 'boolean', default: false },
    feature: { type: 'string' },
    rounds: { type: 'string', default: '1' },
    tier: { type: 'string', default: 'interp' },
    sequences: { type: 'boolean', default: false },
    atomic: { type: 'boolean', default: false },
    stop: { type: 'boolean', default: false },
  },
});
const reason = hostOracleUnavailable();
if (reason !== undefined) {
  console.error(`The host cannot be the oracle: it ${reason}.`);
  process.exit(2);
}
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(values.seed);
const sems = values.sem?.split(',');
const features = values.feature?.split(',');
const candidates = values.vectors ? vectorRows() : integerRows();
const started = performance.now();
const total = Number(values.cases);

const machine = createTestMachine(values.tier as Tier, values.atomic);

class Stop extends Error {}

let shown = 0;
const summary = (() => {
  try {
    return (values.sequences ? runSequences : runOracle)({
      seed,
      cases: total,
      rows: candidates.filter(
        (row) => engineHas(row) && (!sems || sems.includes(row.sem)) && (!features || features.includes(row.feature)),
      ),
      ...(values.vectors && { generator: { fp: randomFpState } }),
      modes: values.mode.split(',') as OracleMode[],
      rounds: Number(values.rounds),
      engine: machine,
      disassemble,
      progress: (done, failed) => {
        const seconds = (performance.now() - started) / 1000;
        if (seconds - shown > 2) {
          shown = seconds;
          const rate = Math.round(done / seconds);
          process.stderr.write(`\r${done} of ${total} cases, ${failed} failed, ${rate}/s, seed ${seed} `);
        }
        if (failed > 0 && values.stop) throw new Stop();
      },
    });
  } catch (error) {
    if (error instanceof Stop) return undefined;
    throw error;
  }
})();
process.stderr.write('\n');
if (!summary) {
  console.log(`A case failed; run again without --stop and with --seed ${seed} to see it.`);
  process.exit(1);
}
console.log(failureText(summary) || `${summary.cases} cases, no difference.`);
console.log(`${machine.regions} regions compiled`);
console.log(`seed ${seed}, ${summary.cases} cases, ${Math.round((performance.now() - started) / 1000)} s`);
process.exit(summary.failures.length === 0 ? 0 : 1);
