import { describe, expect, it } from 'vitest';
import { createRandom, createSlot, hammer } from '../testing/harness.ts';
import { createPort92 } from './device.ts';
import { port92Layout } from './state.ts';

function setup() {
  const events: string[] = [];
  const port = createPort92({
    state: createSlot(port92Layout.size),
    onA20: (enabled) => events.push(enabled ? 'a20 on' : 'a20 off'),
    onReset: () => events.push('reset'),
  });
  const w = (value: number): void => port.io.write(0, 1, value);
  return { events, port, w };
}

describe('system control port A', () => {
  it('starts with A20 open', () => {
    expect(setup().port.io.read(0, 1)).toBe(0x02);
  });

  it('bit 1 drives A20; only changes are reported', () => {
    const { events, w } = setup();
    w(0x02);
    w(0x00);
    w(0x00);
    w(0x02);
    expect(events).toEqual(['a20 off', 'a20 on']);
  });

  it('bit 0 resets when it rises, not while it stays', () => {
    const { events, w } = setup();
    w(0x03);
    w(0x03);
    w(0x02);
    w(0x03);
    expect(events).toEqual(['reset', 'reset']);
  });

  it('save, restore: A20 is told again; impossible state is refused', () => {
    const a = setup();
    a.w(0);
    const b = setup();
    b.port.restore(a.port.save());
    expect([b.events, b.port.io.read(0, 1)]).toEqual([['a20 off'], 0]);
    const broken = a.port.save();
    broken[16] = 0xff;
    expect(() => b.port.restore(broken)).toThrow(expect.objectContaining({ code: 'DEVICES_PC_BAD_STATE' }));
  });

  it('survives a hostile guest', () => {
    const { port } = setup();
    hammer(port.io, 1, 1000, createRandom(2));
    port.restore(port.save());
  });
});
