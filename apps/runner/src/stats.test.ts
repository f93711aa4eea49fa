import { describe, expect, it } from 'vitest';
import { formatStats } from './stats.ts';

const process = { startMs: 12, prepareMs: 30, wallMs: 1500, cpuMs: 1700, rssBytes: 200 * 2 ** 20 };
const machine = {
  'guest.instructions': 4_000_000,
  'guest.MIPS': 150,
  'cpu.compiled': 3_000_000,
  'cpu.regions': 7,
  'cpu.regionBytes': 20_480,
  'cpu.exits': 9,
};

describe('--stats', () => {
  const text = formatStats(process, machine);
  it('shares the instructions out to the tiers', () => {
    expect(text).toMatch(/^ {2}in compiled code +3,000,000 +75\.0 %$/m);
    expect(text).toMatch(/^ {2}in the interpreter +1,000,000 +25\.0 %$/m);
  });

  it('aligns numbers, gives units and leaves out what the machine does not count', () => {
    expect(text).toMatch(/^ {2}WebAssembly +20 KiB +in all$/m);
    expect(text).not.toContain('TLB');
    const numbers = text.split('\n').filter((line) => line.startsWith('  '));
    expect(new Set(numbers.map((line) => /^ {2}.{26} *[\d,]+/.exec(line)?.[0].length))).toEqual(new Set([46]));
  });

  it('a region that counts more than retired takes no more than all', () => {
    expect(formatStats(process, { 'guest.instructions': 10, 'cpu.compiled': 12 })).toMatch(/in the interpreter +0 +0\.0 %/);
  });

  it('shows counters that it does not know as they are', () => {
    expect(formatStats(process, { 'disk.reads': 5, 'disk.name': 'a' })).toMatch(
      /other\n {2}disk\.reads +5\n {2}disk\.name +a\n$/,
    );
  });
});
