/** A hash without collisions for the few offsets that a region can be entered at. */

export type PerfectHash = {
  /** The hash of n is `(n * multiplier mod 2^32) >>> (32 - bits)`. */
  readonly multiplier: number;
  readonly bits: number;
  /** By hash: the position of the number that has it, or -1. */
  readonly places: readonly number[];
};

const TRIES = 64;
const MAX_BITS = 31;

const hashOf = (n: number, multiplier: number, bits: number): number => Math.imul(n, multiplier) >>> (32 - bits);

/** @param numbers distinct, at least two */
export function perfectHash(numbers: readonly number[]): PerfectHash {
  let multiplier = 0x9e3779b1 | 0;
  for (let bits = Math.ceil(Math.log2(numbers.length)); bits <= MAX_BITS; bits++) {
    for (let tries = 0; tries < TRIES; tries++) {
      const places = new Array<number>(1 << bits).fill(-1);
      const collides = numbers.some((n, position) => {
        const hash = hashOf(n, multiplier, bits);
        const taken = places[hash] >= 0;
        places[hash] = position;
        return taken;
      });
      if (!collides) return { multiplier, bits, places };
      // Another odd number; any sequence will do.
      multiplier = (Math.imul(multiplier, 0x2c1b3c6d) + 0x297a2d39) | 1;
    }
  }
  throw new RangeError('no hash tells these numbers apart');
}
