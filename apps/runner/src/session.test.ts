import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { RunOptions } from './options.ts';
import type { MachineFactory } from './ports.ts';
import type { Prepared } from './prepare.ts';
import { Session } from './session.ts';
import { type FakeIo, fakeFactory, fakeIo, mark, prepared, runOptions } from './testing/fakes.ts';

type Setup = { options?: Partial<RunOptions>; prepared?: Partial<Prepared>; io?: FakeIo };
function run(factory: MachineFactory, setup: Setup = {}): { status: Promise<number>; io: FakeIo; session: Session } {
  const io = setup.io ?? fakeIo();
  const session = new Session({ options: runOptions(setup.options), prepared: prepared(setup.prepared), factory, io });
  return { status: session.run(), io, session };
}
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const terminal = (): FakeIo => {
  const io = fakeIo();
  io.stdin.isTTY = true;
  return io;
};

describe('--exec', () => {
  const options = { exec: 'x' };

  it("prints the command's output alone and exits with its status", async () => {
    const factory = fakeFactory((m) => {
      m.print(0, 'kernel message\n');
      m.print(1, `noise${mark('B')}a\r\n\0ÿ${mark('E7')}`);
    });
    const { status, io, session } = run(factory, { options });
    expect(await status).toBe(7);
    expect(io.output()).toBe('a\r\n\0ÿ');
    expect(io.errors()).toBe('');
    expect(factory.machines[0].disposed).toBe(true);
    expect(session.machineStats).toEqual({ instructions: 42 });
  });

  it('a guest that powers off by its own command ends with 0', async () => {
    const factory = fakeFactory((m) => {
      m.print(1, `${mark('B')}bye\n`);
      m.end({ reason: 'poweroff' });
    });
    const { status, io } = run(factory, { options });
    expect(await status).toBe(0);
    expect(io.output()).toBe('bye\n');
  });

  it('a reset (a panic) ends with 125 and shows the end of the console', async () => {
    const factory = fakeFactory((m) => {
      m.print(0, 'Kernel panic - not syncing\r\n');
      m.end({ reason: 'reset' });
    });
    const { status, io } = run(factory, { options });
    expect(await status).toBe(125);
    expect(io.errors()).toBe('tsvisor: the guest reset itself before the command had ended\n  | Kernel panic - not syncing\n');
    expect(factory.machines).toHaveLength(1);
  });

  it('with --serial stdio the console goes to standard error', async () => {
    const factory = fakeFactory((m) => {
      m.print(0, 'kernel\n');
      m.print(1, `${mark('B')}out\n${mark('E0')}`);
    });
    const { status, io } = run(factory, { options: { ...options, serial: { kind: 'stdio' } } });
    expect(await status).toBe(0);
    expect(io.output()).toBe('out\n');
    expect(io.errors()).toBe('kernel\n');
  });
});

describe('ends of a guest', () => {
  it('poweroff 0, triple fault 125, error 125 with its reason', async () => {
    expect(await run(fakeFactory((m) => m.end({ reason: 'poweroff' }))).status).toBe(0);
    const fault = run(fakeFactory((m) => m.end({ reason: 'triple-fault' })));
    expect(await fault.status).toBe(125);
    expect(fault.io.errors()).toBe('tsvisor: the guest died of a triple fault\n');
    const error = run(fakeFactory((m) => m.end({ reason: 'error', message: 'no such instruction\nat 5' })));
    expect(await error.status).toBe(125);
    expect(error.io.errors()).toBe('tsvisor: the machine stopped: no such instruction\n');
  });

  it('a timeout ends with 124', async () => {
    const { status, io } = run(
      fakeFactory(() => undefined),
      { options: { timeoutMs: 20, serial: { kind: 'null' } } },
    );
    expect(await status).toBe(124);
    expect(io.errors()).toMatch(/^tsvisor: timeout: .*0\.02 s\n$/);
  });

  it('a reset starts the machine anew, as a PC does', async () => {
    const factory = fakeFactory(
      (m) => m.end({ reason: 'reset' }),
      (m) => m.end({ reason: 'poweroff' }),
    );
    expect(await run(factory).status).toBe(0);
    expect(factory.machines.map((m) => m.disposed)).toEqual([true, true]);
  });

  it('signals end with 128 + their number', async () => {
    const { status, io } = run(fakeFactory(() => undefined));
    await sleep(5);
    io.process.emit('SIGTERM');
    expect(await status).toBe(143);
  });

  it('an error of the factory is handed on, with the terminal untouched', async () => {
    const io = terminal();
    const factory: MachineFactory = { create: () => Promise.reject(new Error('bad kernel')) };
    await expect(run(factory, { io }).status).rejects.toThrow('bad kernel');
    expect(io.stdin.raw).toEqual([]);
  });

  it('an exception while running leaves the terminal as it was', async () => {
    const io = terminal();
    const factory = fakeFactory(() => undefined);
    const create: MachineFactory['create'] = async (config) => ({
      ...(await factory.create(config)),
      stats: () => ({}),
      start: () => Promise.reject(new Error('defect')),
    });
    await expect(run({ create }, { io }).status).rejects.toThrow('defect');
    expect(io.stdin.raw).toEqual([true, false]);
  });
});

describe('the console', () => {
  it('shows what the guest prints and sends what is typed', async () => {
    const io = terminal();
    const factory = fakeFactory((m) => {
      m.print(0, 'login: ');
      m.print(1, mark('R'));
      setTimeout(() => io.stdin.emit('data', bytes('root\r\x01\x01')), 5);
      setTimeout(() => m.end({ reason: 'poweroff' }), 15);
    });
    expect(await run(factory, { io }).status).toBe(0);
    expect(io.output()).toBe('login: ');
    expect(factory.machines[0].input).toBe('root\r\x01');
    expect(io.stdin.raw).toEqual([true, false]);
  });

  it('Ctrl-A x leaves with 0 and restores the terminal before saying so', async () => {
    const io = terminal();
    const factory = fakeFactory(() => io.stdin.emit('data', bytes('\x01x')));
    expect(await run(factory, { io }).status).toBe(0);
    expect(io.stdin.raw).toEqual([true, false]);
    expect(io.errors()).toBe('\ntsvisor: left the virtual machine\n');
  });

  it('Ctrl-A h explains the keys', async () => {
    const io = terminal();
    const factory = fakeFactory((m) => {
      io.stdin.emit('data', bytes('\x01h'));
      m.end({ reason: 'poweroff' });
    });
    await run(factory, { io }).status;
    expect(io.errors()).toContain('Ctrl-A x');
  });

  it('holds what comes before our init is ready, and ends the shell at the end of input', async () => {
    const io = fakeIo();
    const factory = fakeFactory((m) => {
      io.stdin.emit('data', bytes('uname'));
      io.stdin.emit('end');
      expect(m.input).toBe('');
      m.print(1, mark('R'));
      expect(m.input).toBe('uname\n\x04');
      m.end({ reason: 'poweroff' });
    });
    expect(await run(factory, { io }).status).toBe(0);
  });

  it("does not wait for a ready mark, nor send an end, with a user's own initramfs", async () => {
    const io = fakeIo();
    const factory = fakeFactory((m) => {
      io.stdin.emit('data', bytes('x\n'));
      io.stdin.emit('end');
      m.end({ reason: 'poweroff' });
    });
    await run(factory, { io, prepared: { ourInit: false } }).status;
    expect(factory.machines[0].input).toBe('x\n');
  });

  it('writes to a file when asked, and reads no input then', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tsvisor-'));
    const path = join(folder, 'log');
    const io = terminal();
    const factory = fakeFactory((m) => {
      m.print(0, 'hello\r\n');
      m.end({ reason: 'poweroff' });
    });
    await run(factory, { io, options: { serial: { kind: 'file', path } } }).status;
    expect(readFileSync(path, 'utf8')).toBe('hello\r\n');
    expect(io.output()).toBe('');
    expect(io.stdin.raw).toEqual([]);
    await expect(run(factory, { options: { serial: { kind: 'file', path: join(path, 'no') } } }).status).rejects.toThrow(
      /cannot write the console file/,
    );
    rmSync(folder, { recursive: true });
  });
});

describe('--dump-jit', () => {
  const region = (gva: bigint) => ({ holds: (wanted: bigint) => wanted === gva, text: () => `region at ${gva}\n` });
  const compiles = (...addresses: bigint[]) =>
    fakeFactory((m) => {
      for (const address of addresses) m.config.onRegion?.(region(address));
      m.end({ reason: 'poweroff' });
    });

  it('writes the first region that holds the address, once', async () => {
    const { status, io } = run(compiles(1n, 2n, 2n), { options: { exec: 'x', dumpJit: { gva: 2n } } });
    expect(await status).toBe(0);
    expect(io.errors()).toBe('region at 2\n');
  });

  it('says when there was none', async () => {
    const { status, io } = run(compiles(1n), { options: { exec: 'x', dumpJit: { gva: 0x10n } } });
    await status;
    expect(io.errors()).toBe('tsvisor: no code at 0x10 was compiled\n');
  });

  it('writes a file, and refuses one that it cannot write before the guest starts', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tsvisor-'));
    const file = join(folder, 'region');
    await run(compiles(3n), { options: { exec: 'x', dumpJit: { gva: 3n, file } } }).status;
    expect(readFileSync(file, 'utf8')).toBe('region at 3\n');
    expect(() => run(compiles(3n), { options: { dumpJit: { gva: 3n, file: folder } } })).toThrow(
      /cannot write the region's file/,
    );
    rmSync(folder, { recursive: true });
  });

  it('asks nothing of machines without it', async () => {
    const factory = compiles();
    await run(factory, { options: { exec: 'x' } }).status;
    expect('onRegion' in factory.machines[0].config).toBe(false);
  });
});
