import { describe, expect, it } from 'vitest';
import { createRandom, createSlot, createTestLine, hammer } from '../testing/harness.ts';
import { createI8042 } from './device.ts';
import * as R from './registers.ts';
import { i8042Layout } from './state.ts';

function setup() {
  const keyboardIrq = createTestLine();
  const auxIrq = createTestLine();
  const a20: boolean[] = [];
  const resets: number[] = [];
  const controller = createI8042({
    state: createSlot(i8042Layout.size),
    keyboardIrq,
    auxIrq,
    onA20: (enabled) => a20.push(enabled),
    onReset: () => resets.push(1),
  });
  const status = (): number => controller.command.read(0, 1);
  const command = (value: number): void => controller.command.write(0, 1, value);
  const put = (value: number): void => controller.data.write(0, 1, value);
  const get = (): number => controller.data.read(0, 1);
  /** As a driver does it: an answer exists only while OBF is set. */
  const ask = (value: number): number | undefined => {
    command(value);
    return (status() & R.STATUS_OBF) !== 0 ? get() : undefined;
  };
  return { controller, keyboardIrq, auxIrq, a20, resets, status, command, put, get, ask };
}

describe('keyboard controller commands', () => {
  it('starts with nothing to read, unlocked, system flag set: drivers need not flush it', () => {
    const { status } = setup();
    expect(status()).toBe(R.STATUS_UNLOCKED | R.STATUS_SYSTEM);
  });

  it('AAh tests itself and answers 55h, with both device clocks held afterwards', () => {
    const { ask } = setup();
    expect(ask(R.CMD_SELF_TEST)).toBe(0x55);
    expect(ask(R.CMD_READ_RAM)! & (R.CB_KEYBOARD_DISABLED | R.CB_AUX_DISABLED | R.CB_SYSTEM)).toBe(0x34);
  });

  it('20h and 60h read and write the command byte, 21h-3Fh and 61h-7Fh the rest of the RAM', () => {
    const { ask, command, put } = setup();
    command(R.CMD_WRITE_RAM);
    put(0x74);
    command(R.CMD_WRITE_RAM + 31);
    put(0x99);
    expect([ask(R.CMD_READ_RAM), ask(R.CMD_READ_RAM + 31), ask(R.CMD_READ_RAM + 1)]).toEqual([0x74, 0x99, 0]);
  });

  it('A7h/A8h and ADh/AEh show in the command byte, which is how Linux knows an AUX port', () => {
    const { ask, command } = setup();
    command(R.CMD_ENABLE_AUX);
    expect(ask(R.CMD_READ_RAM)! & R.CB_AUX_DISABLED).toBe(0);
    command(R.CMD_DISABLE_AUX);
    expect(ask(R.CMD_READ_RAM)! & R.CB_AUX_DISABLED).toBe(R.CB_AUX_DISABLED);
    command(R.CMD_DISABLE_KEYBOARD);
    expect(ask(R.CMD_READ_RAM)! & R.CB_KEYBOARD_DISABLED).toBe(R.CB_KEYBOARD_DISABLED);
    command(R.CMD_ENABLE_KEYBOARD);
    expect(ask(R.CMD_READ_RAM)! & R.CB_KEYBOARD_DISABLED).toBe(0);
  });

  it('A9h and ABh find the lines of both ports in order', () => {
    const { ask } = setup();
    expect([ask(R.CMD_TEST_AUX), ask(R.CMD_TEST_KEYBOARD)]).toEqual([0, 0]);
  });

  it('D2h and D3h put a byte into the output buffer as if a device had sent it', () => {
    const { command, put, status, get } = setup();
    command(R.CMD_WRITE_KEYBOARD_BUFFER);
    put(0x12);
    expect([status() & 0x21, get()]).toEqual([0x01, 0x12]);
    command(R.CMD_WRITE_AUX_BUFFER);
    put(0x5a);
    expect([status() & 0x21, get(), status() & 0x21]).toEqual([0x21, 0x5a, 0]);
  });

  it('status bit 3 tells whether the last write was a command', () => {
    const { status, command, put, get } = setup();
    command(R.CMD_ENABLE_KEYBOARD);
    expect(status() & R.STATUS_COMMAND).toBe(R.STATUS_COMMAND);
    put(0);
    get();
    expect(status() & R.STATUS_COMMAND).toBe(0);
  });

  it('an unknown command answers nothing', () => {
    const { ask } = setup();
    expect([ask(0x00), ask(0xb0), ask(0xe5)]).toEqual([undefined, undefined, undefined]);
  });
});

describe('keyboard controller without devices', () => {
  it('a byte for the keyboard comes back as FEh with the time-out flag', () => {
    const { put, status, get } = setup();
    put(0xf2);
    expect(status() & 0x61).toBe(R.STATUS_OBF | R.STATUS_TIMEOUT);
    expect([get(), status() & 0x61]).toEqual([0xfe, 0]);
  });

  it('D4h sends to the auxiliary device and comes back the same way, flagged as its', () => {
    const { command, put, status, get } = setup();
    command(R.CMD_WRITE_AUX);
    put(0xff);
    expect([status() & 0x61, get()]).toEqual([0x61, 0xfe]);
  });
});

describe('keyboard controller interrupts', () => {
  it('follow the output buffer of their device where the command byte enables them', () => {
    const { command, put, get, keyboardIrq, auxIrq } = setup();
    command(R.CMD_WRITE_RAM);
    put(R.CB_AUX_INT);
    command(R.CMD_WRITE_AUX_BUFFER);
    put(1);
    expect([keyboardIrq.level(), auxIrq.level()]).toEqual([0, 1]);
    get();
    expect(auxIrq.level()).toBe(0);
    command(R.CMD_WRITE_KEYBOARD_BUFFER);
    put(1);
    expect(keyboardIrq.level()).toBe(0);
    command(R.CMD_WRITE_RAM);
    put(R.CB_KEYBOARD_INT);
    expect(keyboardIrq.level()).toBe(1);
  });

  it('each waiting byte makes its own edge', () => {
    const { put, get, keyboardIrq } = setup();
    put(0xed);
    put(0xee);
    expect(keyboardIrq.edges()).toBe(1);
    get();
    expect([keyboardIrq.edges(), keyboardIrq.level()]).toEqual([2, 1]);
    get();
    expect(keyboardIrq.level()).toBe(0);
  });
});

describe('output port', () => {
  it('D1h, DDh and DFh drive A20, and only changes are reported', () => {
    const { command, put, ask, a20 } = setup();
    expect(ask(R.CMD_READ_OUTPUT_PORT)! & 3).toBe(3);
    command(R.CMD_WRITE_OUTPUT_PORT);
    put(0xcd);
    command(R.CMD_DISABLE_A20);
    command(R.CMD_ENABLE_A20);
    expect(a20).toEqual([false, true]);
  });

  it('FEh resets, as does bit 0 of the output port low; FFh pulses nothing', () => {
    const { command, put, resets } = setup();
    command(0xff);
    expect(resets.length).toBe(0);
    command(0xfe);
    expect(resets.length).toBe(1);
    command(R.CMD_WRITE_OUTPUT_PORT);
    put(0xfe);
    expect(resets.length).toBe(2);
  });
});

describe('keyboard controller state', () => {
  it('save, restore, continue', () => {
    const a = setup();
    a.command(R.CMD_WRITE_AUX);
    a.put(1);
    a.command(R.CMD_DISABLE_A20);
    a.command(R.CMD_WRITE_RAM);
    const b = setup();
    b.controller.restore(a.controller.save());
    expect(b.a20).toEqual([false]);
    b.put(R.CB_AUX_INT);
    expect([b.auxIrq.level(), b.status() & 0x61, b.get(), b.ask(R.CMD_READ_RAM)]).toEqual([1, 0x61, 0xfe, R.CB_AUX_INT]);
  });

  it('refuses impossible state', () => {
    const { controller } = setup();
    const broken = controller.save();
    broken[16 + i8042Layout.offset.queueHead] = 200;
    expect(() => controller.restore(broken)).toThrow(expect.objectContaining({ code: 'DEVICES_PC_BAD_STATE' }));
  });

  it('survives a hostile guest', () => {
    const { controller } = setup();
    const random = createRandom(3);
    for (let i = 0; i < 2000; i++) {
      hammer(controller.data, 1, 2, random);
      hammer(controller.command, 1, 2, random);
    }
    controller.restore(controller.save());
  });
});
