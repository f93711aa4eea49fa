import { describe, expect, it } from 'vitest';
import { createRandom, createSlot, hammer } from '../testing/harness.ts';
import { createFwCfg } from './device.ts';
import { fwCfgLayout } from './state.ts';

const GiB = 2 ** 30;

function setup() {
  const device = createFwCfg({ state: createSlot(fwCfgLayout.size), ramSize: 5 * GiB + 4096, cpus: 3, maxCpus: 8 });
  const item = (key: number, bytes: number): number[] => {
    device.io.write(0, 2, key);
    return Array.from({ length: bytes }, () => device.io.read(1, 1));
  };
  return { device, item };
}

describe('firmware configuration device (QEMU, docs/specs/fw_cfg)', () => {
  it('answers with its signature and an interface without DMA', () => {
    const { item } = setup();
    expect(String.fromCharCode(...item(0, 4))).toBe('QEMU');
    expect(item(1, 4)).toEqual([1, 0, 0, 0]);
  });

  it('tells RAM and processors, low bytes first', () => {
    const { item } = setup();
    expect(item(3, 8)).toEqual([0, 0x10, 0, 0x40, 1, 0, 0, 0]);
    expect(item(5, 2)).toEqual([3, 0]);
    expect(item(0xf, 2)).toEqual([8, 0]);
  });

  it('reads zeros beyond an item’s end and for keys that there are not; no files', () => {
    const { item } = setup();
    expect(item(5, 5)).toEqual([3, 0, 0, 0, 0]);
    expect(item(0x1234, 3)).toEqual([0, 0, 0]);
    expect(item(0x19, 5)).toEqual([0, 0, 0, 0, 0]);
  });

  it('a selection starts at the beginning; the selector does not read, the data port does not take', () => {
    const { device, item } = setup();
    item(0, 2);
    device.io.write(1, 1, 0x55);
    expect([device.io.read(0, 2), device.io.read(1, 1)]).toEqual([0, 'M'.charCodeAt(0)]);
    expect(String.fromCharCode(...item(0, 1))).toBe('Q');
  });

  it('save, restore in the middle of an item', () => {
    const a = setup();
    a.item(0, 1);
    const b = setup();
    b.device.restore(a.device.save());
    expect(b.device.io.read(1, 1)).toBe('E'.charCodeAt(0));
    expect(() => b.device.restore(new Uint8Array(3))).toThrow(expect.objectContaining({ code: 'DEVICES_PC_BAD_STATE' }));
  });

  it('survives a hostile guest', () => {
    const { device } = setup();
    hammer(device.io, 2, 1000, createRandom(5));
    device.restore(device.save());
  });
});
