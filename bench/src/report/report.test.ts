import { describe, expect, it } from 'vitest';
import { contender, resultsOf, suiteOf, workload } from '../testing/suites.ts';
import { suiteChart, suitePanel } from './chart.ts';
import { resultsMarkdown } from './markdown.ts';
import { resultsOutcome } from './text.ts';

const slow = contender('tsvisor', { crc32: [9, 9], sieve: [9, 9] });
const withOurs = (ours: typeof slow) => {
  const { contenders } = suiteOf();
  return suiteOf({ contenders: [contenders[0], ours, contenders[2]] });
};

describe('the report of results', () => {
  it('has CPU seconds per workload, their geometric mean, boot and memory, and what must hold', () => {
    const { text, ok } = resultsOutcome(resultsOf(suiteOf()));
    expect(ok).toBe(true);
    expect(text).toMatch(/^crc32 +0\.100 +1\.000 \/ 2\.000 +2\.000 \/ 2\.000 +0\.50× \/ 1\.00×$/m);
    expect(text).toMatch(/^geometric mean +0\.50× \/ 1\.00×$/m);
    expect(text).toMatch(/^boot to init +2\.000 \/ 2\.000 .* 1\.00× \/ 1\.00×$/m);
    expect(text).toMatch(/^peak memory +300 MiB +300 MiB$/m);
    expect(text).toMatch(/^wall of all +4\.000 +4\.000$/m);
    expect(text).toContain('all checksums as native');
    expect(text).toContain('limit 0.80×: held');
  });

  it('fails on a limit that does not hold', () => {
    const { text, ok } = resultsOutcome(resultsOf(withOurs(slow)));
    expect(ok).toBe(false);
    expect(text).toContain('limit 0.80×: NOT HELD');
  });

  it('fails on a checksum that differs from native, and says whose', () => {
    const ours = contender('tsvisor', {}, { workloads: { crc32: workload([1, 1], '00000bad') } });
    const { text, ok } = resultsOutcome(resultsOf(withOurs(ours)));
    expect(ok).toBe(false);
    expect(text).toContain('crc32, tsvisor: 00000bad, not 0000beef');
    expect(text).toContain('sieve, tsvisor: none, not 0000beef');
  });

  it('fails on a guest that failed', () => {
    const ours = contender('tsvisor', { crc32: [1, 1], sieve: [1, 1] }, { failures: ['fork did not end'] });
    const { text, ok } = resultsOutcome(resultsOf(withOurs(ours)));
    expect(ok).toBe(false);
    expect(text).toContain('tsvisor: fork did not end');
  });

  it('leaves out who is not installed, and says so', () => {
    const { contenders } = suiteOf();
    const figures = suiteOf({ contenders: contenders.slice(0, 2), absent: ['QEMU is not installed'] });
    const { text, ok } = resultsOutcome({ ...resultsOf(figures), leftOut: ['32-bit suite: left out'] });
    expect(ok).toBe(true);
    expect(text).toContain('  QEMU is not installed');
    expect(text).toContain('32-bit suite: left out');
    expect(text).toContain('not judged');
  });
});

describe('the Markdown', () => {
  it('is a table in which the mean stands out', () => {
    const text = resultsMarkdown(resultsOf(suiteOf()));
    expect(text).toContain('| workload | native | tsvisor | QEMU TCG | to QEMU TCG |\n| --- | --: | --: | --: | --: |');
    expect(text).toContain('| **geometric mean** |  |  |  | **0.50× / 1.00×** |');
  });
});

describe('the chart', () => {
  it('has bars relative to the first peer, the mean first', () => {
    const panel = suitePanel(suiteOf());
    expect(panel?.groups.map(({ label }) => label)).toEqual(['geometric mean', 'crc32', 'sieve']);
    expect(panel).toMatchObject({ base: 'QEMU TCG', legend: ['tsvisor'] });
    expect(panel?.groups[1].bars).toEqual([{ contender: 0, value: 0.5 }]);
  });

  it('is well formed, has colours for light and dark, and cuts what is too long', () => {
    const svg = suiteChart([withOurs(slow)]);
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 760 \d+"/);
    expect(svg).toContain('prefers-color-scheme: dark');
    expect(svg).toContain('>4.50 →</text>');
    const open = svg.match(/<(?!\/)[a-z]+/g)?.length;
    expect((svg.match(/<\/[a-z]+>/g)?.length ?? 0) + (svg.match(/\/>/g)?.length ?? 0)).toBe(open);
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  });

  it('has no panel for a suite without a peer', () => {
    expect(suitePanel(suiteOf({ contenders: [slow] }))).toBeUndefined();
  });

  it('takes names as text, not as markup', () => {
    expect(
      suiteChart([suiteOf({ names: ['<&'], contenders: ['tsvisor', 'v"86'].map((name) => contender(name, { '<&': [1, 1] })) })]),
    ).toContain('&lt;&amp;');
  });
});
