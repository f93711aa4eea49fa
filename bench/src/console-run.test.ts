import { describe, expect, it } from 'vitest';
import { type Moment, runConsole } from './console-run.ts';
import { hasCpuTimes } from './cpu-time.ts';

const script = (code: string) => ({ file: process.execPath, args: ['-e', code] });
const run = { name: 'a program', silence: 20, onLine: () => undefined };

describe('watching a program', () => {
  it.runIf(hasCpuTimes())('reads its clocks when a line comes, and ends it', async () => {
    let moment: Moment | undefined;
    const lines: string[] = [];
    const code = "console.log('one'); console.log('two'); console.log('three'); setInterval(() => {}, 1000)";
    await runConsole({
      ...run,
      command: script(code),
      onLine: (line, now) => {
        lines.push(line);
        moment = now();
        return line === 'two' ? 'end' : undefined;
      },
    });
    expect(lines).toEqual(['one', 'two']);
    expect(moment?.wall).toBeGreaterThan(0);
    expect(moment?.cpu.size).toBeGreaterThan(0);
  });

  it('sees the beginning of a line', async () => {
    const onRest = (rest: string) => (rest.includes('!') ? ('end' as const) : undefined);
    await runConsole({ ...run, command: script("process.stdout.write('!'); setInterval(() => {}, 1000)"), onRest });
  });

  it('says how a program failed, with its last words', async () => {
    const failed = runConsole({ ...run, command: script("console.error('no such guest'); process.exit(7)") });
    await expect(failed).rejects.toMatchObject({
      code: 'BENCH_GUEST',
      message: 'a program ended with status 7; its last lines:\n  | no such guest',
    });
  });

  it('ends a program that falls silent', async () => {
    const failed = runConsole({ ...run, silence: 0.5, command: script('setInterval(() => {}, 1000)') });
    await expect(failed).rejects.toMatchObject({ message: 'a program said nothing for 0.5 s' });
  });

  it('says that a program does not exist', async () => {
    const failed = runConsole({ ...run, command: { file: 'tsvisor-no-such-program', args: [] } });
    await expect(failed).rejects.toMatchObject({ code: 'BENCH_HOST' });
  });
});
