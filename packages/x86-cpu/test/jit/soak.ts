/**
 * The long form of the tiers test: `pnpm soak:tiers --programs 2000000 [--seed N] [--heat 1,3,10] [--smc percent] [--blocks N]
 * [--fuel N]`. Prints progress, and for the first programs that differ the smallest form of them that still does.
 */
import { parseArgs } from 'node:util';
import { compareTiers, minimise } from './compare.ts';
import { makeProgram } from './generator.ts';
import { TierMachine } from './machine.ts';
import { programText } from './report.ts';

const { values } = parseArgs({
  options: {
    programs: { type: 'string', default: '2000000' },
    seed: { type: 'string' },
    heat: { type: 'string', default: '1,2,3,10' },
    smc: { type: 'string', default: '15' },
    blocks: { type: 'string', default: '40' },
    fuel: { type: 'string', default: '3000' },
    failures: { type: 'string', default: '5' },
    fresh: { type: 'boolean', default: false },
    unchecked: { type: 'boolean', default: false },
  },
});
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
const total = Number(values.programs);
const options = { maxBlocks: Number(values.blocks), fuel: Number(values.fuel), selfModifying: Number(values.smc) };
const reference = new TierMachine({ tier: 'interp', codeBytes: 1 << 20 });
const machines = values.heat
  .split(',')
  .map((heat) => new TierMachine({ tier: 'jit', heat: Number(heat), codeBytes: 1 << 20, checked: !values.unchecked }));

const started = performance.now();
let shown = 0;
let failed = 0;
let instructions = 0;
let stops = 0;
const endings = new Map<string, number>();
for (let n = 0; n < total && failed < Number(values.failures); n++) {
  const tested = machines[n % machines.length];
  const program = makeProgram(seed + n, options);
  const outcome = compareTiers(reference, tested, program, values.fresh);
  instructions += outcome.instructions;
  stops += outcome.stops;
  endings.set(outcome.ending ?? 'fuel', (endings.get(outcome.ending ?? 'fuel') ?? 0) + 1);
  if (outcome.difference !== undefined) {
    failed++;
    console.log(`\nprogram ${n}, seed ${seed + n}: ${outcome.difference}`);
    const alone = compareTiers(reference, tested, program, true);
    if (alone.difference === undefined) console.log('Alone it runs alike: what ran before matters.');
    else {
      const small = minimise(program, (one) => compareTiers(reference, tested, one, true).difference !== undefined);
      console.log(`${programText(small)}\n${compareTiers(reference, tested, small, true).difference}`);
    }
  }
  const seconds = (performance.now() - started) / 1000;
  if (seconds - shown > 5) {
    shown = seconds;
    const regions = machines.reduce((sum, machine) => sum + (machine.processor.stats().regions ?? 0), 0);
    process.stderr.write(`\r${n + 1} programs, ${failed} failed, ${regions} regions, ${Math.round((n + 1) / seconds)}/s `);
  }
}
const regions = machines.reduce((sum, machine) => sum + (machine.processor.stats().regions ?? 0), 0);
const text = `${instructions} instructions, ${stops} stops, ${regions} regions, ${Math.round((performance.now() - started) / 1000)} s`;
console.log(`\nseed ${seed}, ${total} programs, ${failed} failed, ${text}`);
console.log([...endings].map(([ending, count]) => `${ending}: ${count}`).join(', '));
process.exit(failed === 0 ? 0 : 1);
