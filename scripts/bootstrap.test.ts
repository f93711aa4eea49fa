import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { root } from './workspace.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvisor-bootstrap-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function program(source: string): string[] {
  const file = join(folder, 'program.mjs');
  writeFileSync(file, source);
  return [join(root, 'scripts', 'bootstrap.mjs'), 'exec', file];
}

describe('the bootstrap', () => {
  it('runs the command under the pinned Node with arguments as they are, and adds nothing to standard output', () => {
    const args = program(
      'console.log(process.version.split(".")[0], JSON.stringify(process.argv.slice(2)), process.execArgv[0])',
    );
    const { stdout, status } = spawnSync(process.execPath, [...args, 'a b', '', '--exec', "it's"], { encoding: 'utf8' });
    expect(stdout).toBe(`v24 ["a b","","--exec","it's"] --conditions=tsvisor-source\n`);
    expect(status).toBe(0);
  });

  it('ends with the status of the command', () => {
    expect(spawnSync(process.execPath, program('process.exit(7)')).status).toBe(7);
  });

  it('ends by the signal that ended the command', () => {
    const { signal } = spawnSync(process.execPath, program("process.kill(process.pid, 'SIGKILL')"));
    expect(signal).toBe('SIGKILL');
  });

  it('gives the command its standard input', () => {
    const { stdout } = spawnSync(process.execPath, program('process.stdin.pipe(process.stdout)'), {
      input: 'typed',
      encoding: 'utf8',
    });
    expect(stdout).toBe('typed');
  });

  it.each(['SIGTERM', 'SIGHUP', 'SIGINT'] as const)(
    'passes %s on, and waits for the command to end as it likes',
    async (name) => {
      const source = `setInterval(() => {}, 1000); process.on('${name}', () => process.exit(42)); console.log('ready');`;
      const child = spawn(process.execPath, program(source), { stdio: ['pipe', 'pipe', 'inherit'] });
      await once(child.stdout, 'data');
      child.kill(name);
      const [status] = await once(child, 'exit');
      expect(status).toBe(42);
    },
  );

  it('answers a wrong use with one line and status 2', () => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [join(root, 'scripts', 'bootstrap.mjs'), 'toString'], {
      encoding: 'utf8',
    });
    expect([stdout, status, stderr.trim().split('\n').length]).toEqual(['', 2, 1]);
  });
});
