/** `tsvisor doorbell`, briefly: that it measures what it says. How long things take is for a host that has nothing else to do. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { Figures } from '../src/doorbell/measure.ts';
import { PATHS } from '../src/doorbell/paths.ts';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tsvisor-doorbell-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function doorbell(...args: string[]) {
  const command = ['--conditions=tsvisor-source', main, 'doorbell', ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8', timeout: 300_000 });
  return { status, stdout, stderr };
}

/** Of a process; undefined if it has ended meanwhile. */
function nameOf(pid: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8');
  } catch {
    return undefined;
  }
}

describe.skipIf(availableParallelism() < 2)('tsvisor doorbell', () => {
  it('measures each way in each of its forms', () => {
    const [json, svg] = [join(folder, 'doorbell.json'), join(folder, 'doorbell.svg')];
    const { status, stdout, stderr } = doorbell('--seconds', '0.05', '--json', json, '--svg', svg);
    expect(stderr).toMatch(/^(tsvisor: [a-z-]+, [a-z-]+ …\n)+$/);
    expect(status).toBe(0);
    const figures = JSON.parse(readFileSync(json, 'utf8')) as Figures[];
    expect(figures.map(({ path, form }) => `${path} ${form}`)).toEqual([
      ...PATHS.flatMap(({ name }) => [`${name} streaming`, `${name} idle-consumer`]),
      'irqfd halted-vcpu',
      'irqfd sleeping-vcpu',
    ]);
    for (const figure of figures) {
      const { path, form, opsPerSecond, p50us, p99us, signalsPerWake, signallerP50us } = figure;
      const name = JSON.stringify(figure);
      expect(opsPerSecond, name).toBeGreaterThan(1);
      expect(opsPerSecond, name).toBeLessThan(1e9);
      expect(p50us, name).toBeGreaterThan(0);
      expect(p99us, name).toBeGreaterThanOrEqual(p50us);
      expect(signallerP50us === undefined, name).toBe(form === 'streaming');
      if (form === 'streaming' && !path.startsWith('userspace')) expect(signalsPerWake, name).toBeGreaterThanOrEqual(1);
      else expect(signalsPerWake, name).toBe(1);
    }
    expect(readFileSync(svg, 'utf8')).toMatch(/^<svg .*>ioeventfd-mmio<.*<\/svg>\n$/s);
    const lines = stdout.split('\n');
    expect(
      lines.filter((line) => /streaming|idle-consumer|halted-vcpu|sleeping-vcpu/.test(line) && !line.includes(':')),
    ).toHaveLength(figures.length);
    expect(stdout).toMatch(/^ioeventfd-mmio +streaming .* 200,100 +5\.00$/m);
    expect(stdout).toMatch(/^This host needs [\d.]+ µs to wake a sleeping thread/m);
    expect(stdout).toMatch(/^ioeventfd to userspace, MMIO, streaming: [\d,.]+ \(2009: 1\.82\)$/m);
  }, 300_000);

  it('--json alone goes to standard output, and --only leaves the others out', () => {
    const { status, stdout } = doorbell('--seconds', '.02', '--only', 'hypercall', '--json');
    expect(status).toBe(0);
    expect((JSON.parse(stdout) as Figures[]).map(({ path, form }) => [path, form])).toEqual([
      ['hypercall', 'streaming'],
      ['hypercall', 'idle-consumer'],
    ]);
  }, 120_000);

  it.skipIf(process.platform !== 'linux')(
    '--keep-awake says so, and leaves nothing behind',
    () => {
      const { status, stdout } = doorbell('--seconds', '.02', '--only', 'hypercall', '--keep-awake');
      expect(status).toBe(0);
      expect(stdout).toMatch(/^Doorbells, .*, whose processors did not halt$/m);
      const left = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && nameOf(pid) === 'tsvisor-awake\n');
      expect(left).toEqual([]);
    },
    120_000,
  );

  it.each([
    [
      'a way that there is not',
      ['--only', 'userspace-mmio,vhost'],
      /--only 'userspace-mmio,vhost': 'vhost' is none of userspace-mmio, /,
    ],
    ['no number of seconds', ['--seconds', 'soon'], /--seconds 'soon' is not a number of seconds/],
    ['a file that cannot be written', ['--svg', join(folder, 'nowhere', 'chart.svg')], /cannot write .*chart\.svg: no such file/],
  ])('%s: one clear line, status 2', (_, args, message) => {
    const { status, stdout, stderr } = doorbell(...args);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^tsvisor: [^\n]+\n$/);
    expect([status, stdout]).toEqual([2, '']);
  });
});
