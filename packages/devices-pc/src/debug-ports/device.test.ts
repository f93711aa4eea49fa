import { describe, expect, it } from 'vitest';
import { createRandom, createSlot, createTestBackend, hammer } from '../testing/harness.ts';
import { createDebugConsole, createDebugExit, createDelayPort } from './device.ts';
import { delayPortLayout } from './state.ts';

describe('delay port', () => {
  it('keeps the last byte written, as the page register behind it does', () => {
    const port = createDelayPort({ state: createSlot(delayPortLayout.size) });
    expect(port.io.read(0, 1)).toBe(0);
    port.io.write(0, 1, 0x42);
    expect([port.io.read(0, 1), port.code(), port.io.read(0, 2)]).toEqual([0x42, 0x42, 0xff42]);
  });

  it('save, restore', () => {
    const a = createDelayPort({ state: createSlot(delayPortLayout.size) });
    a.io.write(0, 1, 0x33);
    const b = createDelayPort({ state: createSlot(delayPortLayout.size) });
    b.restore(a.save());
    expect(b.code()).toBe(0x33);
    expect(() => b.restore(new Uint8Array(3))).toThrow(expect.objectContaining({ code: 'DEVICES_PC_BAD_STATE' }));
  });
});

describe('debug console', () => {
  it('reads as E9h, which tells guests that it is there', () => {
    const console = createDebugConsole({ backend: createTestBackend() });
    expect(console.io.read(0, 1)).toBe(0xe9);
  });

  it('passes characters on at a newline or flush', () => {
    const backend = createTestBackend();
    const console = createDebugConsole({ backend });
    for (const c of 'a\nb') console.io.write(0, 1, c.charCodeAt(0));
    expect(backend.text()).toBe('a\n');
    console.flush();
    expect(backend.text()).toBe('a\nb');
  });
});

describe('debug exit', () => {
  it('ends with (v << 1) | 1, unsigned, for a value of any length', () => {
    const statuses: number[] = [];
    const exit = createDebugExit({ onExit: (status) => statuses.push(status) });
    exit.io.write(0, 1, 0);
    exit.io.write(0, 1, 0x10);
    exit.io.write(0, 4, 0x7fff_ffff);
    exit.io.write(0, 4, 0x8000_0001);
    expect(statuses).toEqual([1, 0x21, 0xffff_ffff, 3]);
    expect(exit.io.read(0, 4)).toBe(0);
  });

  it('none of the debug ports minds a hostile guest', () => {
    const random = createRandom(9);
    hammer(createDelayPort({ state: createSlot(delayPortLayout.size) }).io, 1, 500, random);
    hammer(createDebugConsole({ backend: createTestBackend() }).io, 1, 500, random);
    hammer(createDebugExit({ onExit: () => undefined }).io, 4, 500, random);
  });
});
