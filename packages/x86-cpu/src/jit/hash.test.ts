import { describe, expect, it } from 'vitest';
import { perfectHash } from './hash.ts';

describe('perfectHash', () => {
  it('gives each of up to 200 offsets a place of its own', () => {
    for (let count = 2; count <= 200; count += 3) {
      const numbers = Array.from({ length: count }, (_, n) => (n % 2 ? -1 : 1) * n * 37 + (n % 7) * 4096);
      const { multiplier, bits, places } = perfectHash(numbers);
      numbers.forEach((n, position) => {
        expect(places[Math.imul(n, multiplier) >>> (32 - bits)]).toBe(position);
      });
      expect(places.length).toBeLessThanOrEqual(16 * count);
    }
  });
});
