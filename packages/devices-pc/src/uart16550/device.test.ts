import { describe, expect, it } from 'vitest';
import { createRandom, createSlot, createTestBackend, createTestClock, createTestLine, hammer } from '../testing/harness.ts';
import { createUart16550 } from './device.ts';
import * as R from './registers.ts';
import { uart16550Layout } from './state.ts';

function setup() {
  const clock = createTestClock();
  const irq = createTestLine();
  const backend = createTestBackend();
  const space: number[] = [];
  const state = createSlot(uart16550Layout.size);
  const uart = createUart16550({ state, clock, irq, backend, onReceiveSpace: () => space.push(1) });
  const r = (offset: number): number => uart.io.read(offset, 1);
  const w = (offset: number, value: number): void => uart.io.write(offset, 1, value);
  return { clock, irq, backend, space, uart, state, r, w };
}
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const text = (value: string): Uint8Array => Uint8Array.from(value, (c) => c.charCodeAt(0));
/** 8n1 at 115,200 baud: ten bits per character. */
const CHARACTER_NS = (10 * 1e9) / 115_200;

function setFastLine({ w }: { w: (offset: number, value: number) => void }): void {
  w(R.LCR, R.LCR_DLAB | 3);
  w(R.RBR_THR_DLL, 1);
  w(R.IER_DLM, 0);
  w(R.LCR, 3);
}

describe('16550A registers', () => {
  it('reset: IIR 01h, LSR 60h, the others 0 (data sheet table I)', () => {
    const { r } = setup();
    expect([r(R.IER_DLM), r(R.IIR_FCR), r(R.LCR), r(R.MCR), r(R.LSR), r(R.SCR)]).toEqual([0, 1, 0, 0, 0x60, 0]);
  });

  it('reset: the divisor is what firmware leaves, as early consoles divide by it', () => {
    const { r, w } = setup();
    w(R.LCR, R.LCR_DLAB);
    expect(r(R.RBR_THR_DLL) | (r(R.IER_DLM) << 8)).toBe(12);
  });

  it('DLAB switches offsets 0 and 1 to the divisor latch and back (§8.3)', () => {
    const { r, w, backend, uart } = setup();
    w(R.IER_DLM, 5);
    w(R.LCR, R.LCR_DLAB);
    w(R.RBR_THR_DLL, 0x34);
    w(R.IER_DLM, 0x12);
    expect([r(R.RBR_THR_DLL), r(R.IER_DLM)]).toEqual([0x34, 0x12]);
    w(R.LCR, 0);
    expect(r(R.IER_DLM)).toBe(5);
    uart.flush();
    expect(backend.text()).toBe('');
  });

  it('IER keeps four bits and MCR five', () => {
    const { r, w } = setup();
    w(R.IER_DLM, 0xff);
    w(R.MCR, 0xff);
    expect([r(R.IER_DLM), r(R.MCR)]).toEqual([0x0f, 0x1f]);
  });

  it('SCR holds any byte; LSR and MSR ignore writes', () => {
    const { r, w } = setup();
    w(R.SCR, 0xa5);
    w(R.LSR, 0);
    w(R.MSR, 0);
    expect([r(R.SCR), r(R.LSR), r(R.MSR) & 0xf0]).toEqual([0xa5, 0x60, 0xb0]);
  });

  it('wider accesses reach consecutive registers', () => {
    const { uart, r } = setup();
    uart.io.write(R.LCR, 2, 0x0a03);
    expect([r(R.LCR), r(R.MCR), uart.io.read(R.LCR, 2)]).toEqual([0x03, 0x0a, 0x0a03]);
    expect(uart.io.read(R.SCR, 4)).toBe(0xffff_ff00);
  });

  it('IIR bits 7:6 tell that FIFOs are enabled (§8.6)', () => {
    const { r, w } = setup();
    w(R.IIR_FCR, R.FCR_ENABLE);
    expect(r(R.IIR_FCR)).toBe(0xc1);
    w(R.IIR_FCR, 0xc6);
    expect(r(R.IIR_FCR)).toBe(0x01);
  });
});

describe('16550A transmitter', () => {
  it('output reaches the backend at a newline, after 64 characters, and on flush', () => {
    const { w, uart, backend } = setup();
    for (const c of text('hi')) w(0, c);
    expect(backend.calls()).toBe(0);
    w(0, 0x0a);
    expect([backend.text(), backend.calls()]).toEqual(['hi\n', 1]);
    for (let i = 0; i < 64; i++) w(0, 0x78);
    expect(backend.calls()).toBe(2);
    w(0, 0x24);
    uart.flush();
    uart.flush();
    expect([backend.text().slice(-1), backend.calls()]).toEqual(['$', 3]);
  });

  it('enabling ETBEI while THR is empty interrupts at once, each time it is enabled anew', () => {
    // The 8250 driver of Linux does exactly this, and works around chips that do not interrupt the second time.
    const { r, w, irq } = setup();
    w(R.MCR, R.MCR_OUT2);
    for (let round = 1; round <= 2; round++) {
      w(R.IER_DLM, R.IER_ETBEI);
      expect([irq.level(), irq.edges()]).toEqual([1, round]);
      expect(r(R.IIR_FCR)).toBe(R.IIR_THR_EMPTY);
      w(R.IER_DLM, 0);
      expect(irq.level()).toBe(0);
    }
  });

  it('reading IIR acknowledges THR-empty; the next character written raises it again', () => {
    const { r, w, irq } = setup();
    w(R.MCR, R.MCR_OUT2);
    w(R.IER_DLM, R.IER_ETBEI);
    expect([r(R.IIR_FCR), r(R.IIR_FCR), irq.level()]).toEqual([R.IIR_THR_EMPTY, R.IIR_NONE, 0]);
    w(0, 0x41);
    expect([irq.level(), irq.edges()]).toEqual([1, 2]);
    w(0, 0x42);
    expect(irq.edges()).toBe(3);
  });

  it('reading IIR does not acknowledge THR-empty while it reports something of higher priority', () => {
    const { r, w, uart } = setup();
    w(R.IER_DLM, R.IER_ETBEI | R.IER_ERBFI);
    uart.receive(bytes(1));
    expect(r(R.IIR_FCR)).toBe(R.IIR_RECEIVED_DATA);
    r(R.RBR_THR_DLL);
    expect(r(R.IIR_FCR)).toBe(R.IIR_THR_EMPTY);
  });
});

describe('16550A receiver', () => {
  it('without FIFOs holds one character and takes no second one from the line', () => {
    const { r, uart } = setup();
    expect(uart.receive(text('ab'))).toBe(1);
    expect(r(R.LSR)).toBe(0x61);
    expect(r(0)).toBe(0x61);
    expect(r(R.LSR)).toBe(0x60);
  });

  it('with FIFOs takes 16 characters and gives them in order', () => {
    const { r, w, uart } = setup();
    w(R.IIR_FCR, R.FCR_ENABLE);
    expect(uart.receive(text('0123456789abcdefXYZ'))).toBe(16);
    expect(uart.receive(text('XYZ'))).toBe(0);
    let all = '';
    while ((r(R.LSR) & R.LSR_DR) !== 0) all += String.fromCharCode(r(0));
    expect(all).toBe('0123456789abcdef');
  });

  it('asks for more only after it turned characters away, once it is empty', () => {
    const { r, w, uart, space } = setup();
    w(R.IIR_FCR, R.FCR_ENABLE);
    uart.receive(text('ab'));
    r(0);
    r(0);
    expect(space.length).toBe(0);
    uart.receive(new Uint8Array(17));
    for (let i = 0; i < 15; i++) r(0);
    expect(space.length).toBe(0);
    r(0);
    expect(space.length).toBe(1);
    r(0);
    expect(space.length).toBe(1);
  });

  it('asks for more when the guest empties the FIFO by resetting it', () => {
    const { w, uart, space } = setup();
    w(R.IIR_FCR, R.FCR_ENABLE);
    uart.receive(new Uint8Array(20));
    w(R.IIR_FCR, R.FCR_ENABLE | R.FCR_RESET_RECEIVER);
    expect(space.length).toBe(1);
  });

  it.each([
    [0x01, 1],
    [0x41, 4],
    [0x81, 8],
    [0xc1, 14],
  ])('FCR %x: the interrupt comes at %i characters (§8.4)', (fcr, level) => {
    const { r, w, uart, irq } = setup();
    w(R.MCR, R.MCR_OUT2);
    w(R.IIR_FCR, fcr);
    w(R.IER_DLM, R.IER_ERBFI);
    for (let i = 1; i < level; i++) uart.receive(bytes(i));
    expect(irq.level()).toBe(0);
    uart.receive(bytes(0xee));
    expect([irq.level(), r(R.IIR_FCR)]).toEqual([1, 0xc4]);
    r(0);
    expect(irq.level()).toBe(0);
  });

  it('characters below the trigger level interrupt after four character times without traffic (§8.8.2)', () => {
    const t = setup();
    setFastLine(t);
    t.w(R.MCR, R.MCR_OUT2);
    t.w(R.IIR_FCR, 0x81);
    t.w(R.IER_DLM, R.IER_ERBFI);
    t.uart.receive(text('a'));
    t.clock.advance(3.9 * CHARACTER_NS);
    t.uart.receive(text('b'));
    t.clock.advance(3.9 * CHARACTER_NS);
    expect(t.irq.level()).toBe(0);
    t.clock.advance(0.2 * CHARACTER_NS);
    expect([t.irq.level(), t.r(R.IIR_FCR)]).toEqual([1, 0xcc]);
    t.r(0);
    expect([t.irq.level(), t.r(R.IIR_FCR)]).toEqual([0, 0xc1]);
    t.clock.advance(4.1 * CHARACTER_NS);
    expect(t.r(R.IIR_FCR)).toBe(0xcc);
    t.r(0);
    expect(t.clock.timers()).toBe(0);
  });

  it('the timeout needs FIFOs', () => {
    const { uart, clock } = setup();
    uart.receive(text('a'));
    expect(clock.timers()).toBe(0);
  });

  it('a FIFO too many in loop-back sets OE and keeps what was there (LSR bit 1)', () => {
    const { r, w } = setup();
    w(R.IIR_FCR, R.FCR_ENABLE);
    w(R.MCR, R.MCR_LOOP);
    for (let i = 0; i < 17; i++) w(0, i);
    expect(r(R.LSR) & R.LSR_OE).toBe(R.LSR_OE);
    expect(r(R.LSR) & R.LSR_OE).toBe(0);
    for (let i = 0; i < 16; i++) expect(r(0)).toBe(i);
  });

  it('without FIFOs an overrun replaces RBR (LSR bit 1)', () => {
    const { r, w } = setup();
    w(R.MCR, R.MCR_LOOP);
    w(0, 0x11);
    w(0, 0x22);
    expect([r(R.LSR) & R.LSR_OE, r(0)]).toEqual([R.LSR_OE, 0x22]);
  });

  it('a break shows BI and FE when its character is at the top, and bit 7 while it is in the FIFO', () => {
    const { r, w, uart, irq } = setup();
    w(R.MCR, R.MCR_OUT2);
    w(R.IIR_FCR, 0xc1);
    w(R.IER_DLM, R.IER_ELSI);
    uart.receive(text('a'));
    uart.receiveBreak();
    expect(irq.level()).toBe(0);
    expect(r(R.LSR)).toBe(0xe1);
    r(0);
    expect([irq.level(), r(R.IIR_FCR)]).toEqual([1, 0xc6]);
    expect(r(R.LSR)).toBe(0xe1 | R.LSR_BI | R.LSR_FE);
    expect([irq.level(), r(R.LSR)]).toEqual([0, 0x61]);
    expect(r(0)).toBe(0);
  });

  it('changing FCR bit 0 empties the FIFO (§8.4)', () => {
    const { r, w, uart } = setup();
    w(R.IIR_FCR, R.FCR_ENABLE);
    uart.receive(text('abc'));
    w(R.IIR_FCR, 0);
    expect(r(R.LSR)).toBe(0x60);
  });
});

describe('16550A interrupts and modem lines', () => {
  it('identifies interrupts in the order line status, data, THR empty, modem status (table III)', () => {
    const { r, w, uart } = setup();
    w(R.MCR, R.MCR_LOOP | R.MCR_DTR);
    w(R.MCR, 0);
    w(R.IER_DLM, R.IER_MASK);
    uart.receiveBreak();
    expect(r(R.IIR_FCR)).toBe(R.IIR_LINE_STATUS);
    r(R.LSR);
    expect(r(R.IIR_FCR)).toBe(R.IIR_RECEIVED_DATA);
    r(0);
    expect(r(R.IIR_FCR)).toBe(R.IIR_THR_EMPTY);
    expect(r(R.IIR_FCR)).toBe(R.IIR_MODEM_STATUS);
    r(R.MSR);
    expect(r(R.IIR_FCR)).toBe(R.IIR_NONE);
  });

  it('OUT2 gates the line, loop-back closes the gate', () => {
    const { w, irq } = setup();
    w(R.IER_DLM, R.IER_ETBEI);
    expect(irq.level()).toBe(0);
    w(R.MCR, R.MCR_OUT2);
    expect(irq.level()).toBe(1);
    w(R.MCR, R.MCR_OUT2 | R.MCR_LOOP);
    expect(irq.level()).toBe(0);
  });

  it('loop-back connects RTS, DTR, OUT1, OUT2 to CTS, DSR, RI, DCD (§8.7)', () => {
    const { r, w } = setup();
    for (const [out, line] of [
      [R.MCR_RTS, R.MSR_CTS],
      [R.MCR_DTR, R.MSR_DSR],
      [R.MCR_OUT1, R.MSR_RI],
      [R.MCR_OUT2, R.MSR_DCD],
    ]) {
      w(R.MCR, R.MCR_LOOP | out);
      expect(r(R.MSR) & 0xf0).toBe(line);
    }
    // Linux looks for exactly this answer before it believes in the port.
    w(R.MCR, R.MCR_LOOP | 0x0a);
    expect(r(R.MSR) & 0xf0).toBe(0x90);
  });

  it('MSR deltas tell of changes until read; TERI only of RI going away (§8.9)', () => {
    const { r, w } = setup();
    w(R.MCR, R.MCR_LOOP | R.MCR_OUT1);
    expect(r(R.MSR)).toBe(R.MSR_RI | R.MSR_DCTS | R.MSR_DDSR | R.MSR_DDCD);
    expect(r(R.MSR)).toBe(R.MSR_RI);
    w(R.MCR, R.MCR_LOOP);
    expect(r(R.MSR)).toBe(R.MSR_TERI);
  });

  it('loop-back keeps output from the backend and input on the line', () => {
    const { r, w, uart, backend, space } = setup();
    w(R.MCR, R.MCR_LOOP);
    w(0, 0x5a);
    uart.flush();
    expect([r(0), backend.text()]).toEqual([0x5a, '']);
    expect(uart.receive(text('x'))).toBe(0);
    w(R.MCR, 0);
    expect(space.length).toBe(1);
  });
});

describe('16550A state', () => {
  it('save, restore, continue: another UART goes on where this one was', () => {
    const a = setup();
    setFastLine(a);
    a.w(R.MCR, R.MCR_OUT2);
    a.w(R.IIR_FCR, 0x81);
    a.w(R.IER_DLM, R.IER_ERBFI);
    a.uart.receive(text('abc'));
    a.r(0);
    const saved = a.uart.save();
    const b = setup();
    b.uart.restore(saved);
    expect([...b.uart.save()]).toEqual([...saved]);
    b.clock.advance(4.1 * CHARACTER_NS);
    expect([b.irq.level(), b.r(R.IIR_FCR), b.r(0), b.r(0), b.r(R.LSR)]).toEqual([1, 0xcc, 0x62, 0x63, 0x60]);
  });

  it('refuses what is not its own state, and stays as it was', () => {
    const { uart, r, w } = setup();
    w(R.SCR, 0x77);
    const saved = uart.save();
    const changed = (at: number, value: number): Uint8Array => saved.map((byte, i) => (i === at ? value : byte));
    const bad: unknown[] = [
      undefined,
      'state',
      saved.subarray(1),
      changed(0, 0),
      changed(4, 99),
      changed(12, saved[12] ^ 1),
      changed(16 + uart16550Layout.offset.fifoHead, 16),
      changed(16 + uart16550Layout.offset.fifoCount, 2),
    ];
    for (const candidate of bad)
      expect(() => uart.restore(candidate)).toThrow(expect.objectContaining({ code: 'DEVICES_PC_BAD_STATE' }));
    expect(r(R.SCR)).toBe(0x77);
  });

  it('survives a hostile guest and stays inside its slot', () => {
    const { uart, state, clock } = setup();
    const random = createRandom(7);
    for (let i = 0; i < 50; i++) {
      hammer(uart.io, 8, 200, random);
      uart.receive(new Uint8Array(random(20)));
      clock.advance(random(1_000_000));
    }
    const all = new Uint8Array(state.buffer);
    expect(all.subarray(0, 64).every((byte) => byte === 0)).toBe(true);
    expect(all.subarray(state.byteOffset + uart16550Layout.size).every((byte) => byte === 0)).toBe(true);
    uart.restore(uart.save());
  });
});
