import { describe, expect, it } from 'vitest';
import { Session } from './session.ts';

/** About ten seconds each on one core. `pnpm soak:tiers` runs as many as wanted. */
const PROGRAMS = 1500;
const FIXED_SEED = 20_261_125;
const freshSeed = Math.floor(Math.random() * 2 ** 30);

/** Runs programs from a seed on; the text of the first that differs, in its smallest form. */
function firstDifference(session: Session, seed: number): string | undefined {
  for (let n = 0; n < PROGRAMS; n++) {
    const difference = session.run(seed + n);
    if (difference === undefined) continue;
    return `pnpm soak:tiers --seed ${seed} --programs ${n + 1}: ${difference}\n${session.explain(seed + n)}`;
  }
  return undefined;
}

describe('random programs: both tiers have the same registers, flags, memory, faults, interrupts and device accesses', () => {
  const session = new Session();

  it('wherever the compiled tier stops', () => {
    expect(firstDifference(session, FIXED_SEED)).toBeUndefined();
  });

  it(`with programs that are new in every run (seed ${freshSeed})`, () => {
    expect(firstDifference(session, freshSeed)).toBeUndefined();
  });

  it('compiling regions in nearly every program, and running many to the end of their fuel', () => {
    expect(session.regions).toBeGreaterThan(PROGRAMS);
    expect(session.endings.fuel).toBeGreaterThan(PROGRAMS);
  });

  it('with regions made for one program that served another', () => {
    expect(session.shared).toBeGreaterThan(PROGRAMS / 100);
  });
});
