import { describe, expect, it } from 'vitest';
import { createRandom, createSlot, hammer } from '../testing/harness.ts';
import { createPcTestdev } from './device.ts';
import { pcTestdevLayout } from './state.ts';

function setup() {
  const levels: string[] = [];
  const device = createPcTestdev({
    state: createSlot(pcTestdevLayout.size),
    irqLine: (n) => (n === 2 ? undefined : { setLevel: (level) => void levels.push(`${n}=${level}`) }),
  });
  return { device, levels };
}

describe('pc-testdev', () => {
  it('its latches keep what is written, in any length', () => {
    const { device } = setup();
    device.latch.write(0, 4, 0x8765_4321);
    expect([device.latch.read(0, 4), device.latch.read(1, 2), device.latch.read(3, 1)]).toEqual([0x8765_4321, 0x6543, 0x87]);
    device.byteLatch.write(2, 1, 0xaa);
    expect([device.byteLatch.read(2, 1), device.byteLatch.read(0, 1)]).toEqual([0xaa, 0]);
  });

  it('a port for each interrupt line: not zero raises it; a line that is not there is no one’s', () => {
    const { device, levels } = setup();
    device.irq.write(5, 1, 1);
    device.irq.write(5, 1, 0);
    device.irq.write(2, 1, 1);
    device.irq.write(23, 1, 0x80);
    expect(levels).toEqual(['5=1', '5=0', '23=1']);
  });

  it('its memory holds 64 KiB', () => {
    const { device } = setup();
    device.memory.write(0xfffc, 4, 0x1122_3344);
    device.memory.write(0, 2, 0xbeef);
    expect([device.memory.read(0xfffc, 4), device.memory.read(0, 4)]).toEqual([0x1122_3344, 0xbeef]);
  });

  it('save, restore: levels are told again', () => {
    const a = setup();
    a.device.irq.write(7, 1, 1);
    a.device.memory.write(8, 1, 9);
    const b = setup();
    b.device.restore(a.device.save());
    expect(b.levels).toContain('7=1');
    expect(b.device.memory.read(8, 1)).toBe(9);
  });

  it('survives a hostile guest', () => {
    const { device } = setup();
    for (const io of [device.latch, device.byteLatch, device.flush]) hammer(io, 4, 300, createRandom(1));
    hammer(device.irq, 24, 300, createRandom(2));
    hammer(device.memory, 0x1_0000, 300, createRandom(3));
  });
});
