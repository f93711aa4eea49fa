/**
 * The 8254 programmable interval timer and the system control port through which a PC reaches its third counter.
 *
 * A counter is not stepped: its state is the count, the time at which counting from it began, and the gate. Count and output at
 * any moment follow from the clock. Only counter 0's output is a wire that something listens to, so only it needs a timer.
 */
import { array, defineLayout } from '@tsvisor/state-layout';
import type { ByteDevice } from './byte-device.ts';
import { byteDevice } from './byte-device.ts';
import { countAt, fromRegister, NS_PER_TICK, nextEdgeTick, outputAt, toRegister } from './pit-counter.ts';
import type { Clock, OutputPin, StatePlace, TimerHandle } from './ports.ts';
import { bad, bytesAt, openImage, saveImage } from './state-image.ts';

const counters8 = array('u8', 3);

export const PIT_LAYOUT = defineLayout('pit', {
  /** Time (ns) at which counting began from `reload`. */
  startNs: array('f64', 3),
  /** Ticks counted when the gate closed. */
  heldTicks: array('f64', 3),
  /** Counter 0: rising edges already driven since `startNs`; negative when edges from before it are still to come. */
  edgesDriven: array('f64', 1),
  /** The count being counted from, 1–65536. */
  reload: array('u32', 3),
  /** A count that waits for the end of the period or for a trigger; 0 none. */
  waiting: array('u32', 3),
  latch: array('u16', 3),
  mode: counters8,
  bcd: counters8,
  /** RW1–0 of the control word: 1 LSB, 2 MSB, 3 LSB then MSB. */
  access: counters8,
  readMsb: counters8,
  writeMsb: counters8,
  writeLow: counters8,
  countLatched: counters8,
  statusLatched: counters8,
  status: counters8,
  gate: counters8,
  /** A count was written since the control word. */
  loaded: counters8,
  running: counters8,
  /** Modes 1 and 5: a gate edge started the counter. */
  triggered: counters8,
  /** Counter 0's output pin as driven. */
  line: array('u8', 1),
  /** Bits 3–0 of port 0x61 as written. */
  control: array('u8', 1),
  /** Ticks of counter 0 that the guest has not seen yet. */
  owed: array('u32', 1),
});

const IMAGE = { name: '8254', id: 2, version: 1, size: PIT_LAYOUT.size } as const;

/** A counter faster than this does not get a host timer per period. KVM: min_timer_period_us. */
const MIN_TIMER_NS = 200_000;
/** Missed ticks kept for later: about a second at Linux's usual rates. A guest stopped for longer sees time jump. */
const MAX_OWED = 256;

const READ_BACK = 3;
const READ_BACK_NO_COUNT = 0x20;
const READ_BACK_NO_STATUS = 0x10;
const STATUS_OUT = 0x80;
const STATUS_NULL_COUNT = 0x40;

const NMI_SC_TIMER2_GATE = 0x01;
const NMI_SC_WRITABLE = 0x0f;
const NMI_SC_REFRESH_TOGGLE = 0x10;
const NMI_SC_TIMER2_OUT = 0x20;
/** The refresh request toggles at this interval. 82371AB §4.2.6 (NMISC) */
const REFRESH_NS = 15_085;

export type PitOptions = {
  readonly state: StatePlace;
  readonly clock: Clock;
  /** Counter 0's output. */
  readonly output: OutputPin;
  /**
   * Keep ticks that were coalesced or that a late timer skipped, and drive them one by one from `acknowledged()`; at most 256.
   * The output must then report delivery counts. Default false.
   */
  readonly reinject?: boolean;
};

export class Pit {
  /** Counters 0–2 and the control word (conventionally ports 0x40–0x43). */
  readonly device: ByteDevice;
  /** NMI status and control: speaker gate, refresh toggle, counter 2's output (conventionally port 0x61). */
  readonly systemControl: ByteDevice;

  private readonly view: ReturnType<typeof PIT_LAYOUT.view>;
  private readonly bytes: Uint8Array;
  private readonly clock: Clock;
  private readonly output: OutputPin;
  private readonly reinject: boolean;
  private timer: TimerHandle | undefined;
  private readonly onTimer = (): void => this.expire();

  constructor(options: PitOptions) {
    this.view = PIT_LAYOUT.view(options.state.buffer, options.state.byteOffset);
    this.bytes = bytesAt(options.state.buffer, options.state.byteOffset, PIT_LAYOUT.size);
    this.clock = options.clock;
    this.output = options.output;
    this.reinject = options.reinject ?? false;
    this.device = byteDevice(
      4,
      (offset) => (offset < 3 ? this.readCounter(offset) : 0xff),
      (offset, value) => (offset < 3 ? this.writeCounter(offset, value) : this.writeControl(value)),
    );
    this.systemControl = byteDevice(
      1,
      () => this.readSystemControl(),
      (_, value) => this.writeSystemControl(value),
    );
    if (this.view.gate[0] === 0) this.powerOn();
    else this.arm();
  }

  private powerOn(): void {
    const v = this.view;
    this.bytes.fill(0);
    for (let c = 0; c < 3; c++) {
      v.access[c] = 3;
      v.gate[c] = c === 2 ? 0 : 1;
    }
    this.arm();
  }

  /** Power-on state: no counter programmed, counter 2's gate closed. */
  reset(): void {
    const high = this.view.line[0] === 1;
    this.powerOn();
    if (high) this.output.setLevel(0);
  }

  /** Counter 2's output at this moment: what the speaker would hear. */
  speakerOutput(): 0 | 1 {
    return this.out(2, this.settledTicks(2, this.clock.monotonicNs()));
  }

  /** The guest has dealt with a tick (end of interrupt): one that is owed may follow. */
  acknowledged(): void {
    if (this.view.owed[0] === 0) return;
    this.view.owed[0]--;
    this.pulse();
  }

  // Counting

  private ticks(c: number, now: number): number {
    const v = this.view;
    return v.running[c] ? Math.max(0, Math.floor((now - v.startNs[c]) / NS_PER_TICK)) : v.heldTicks[c];
  }

  /** Ticks since the present period's base; takes over a waiting count when its period has ended. 8254 "Mode 2", "Mode 3" */
  private settledTicks(c: number, now: number): number {
    const v = this.view;
    const d = this.ticks(c, now);
    if (v.waiting[c] === 0 || v.running[c] === 0 || d < v.reload[c] || (v.mode[c] !== 2 && v.mode[c] !== 3)) return d;
    v.startNs[c] += v.reload[c] * NS_PER_TICK;
    if (c === 0) v.edgesDriven[0] -= 1;
    v.reload[c] = v.waiting[c];
    v.waiting[c] = 0;
    return this.ticks(c, now);
  }

  /** Moves the base of a periodic counter to the period it is in, so that a waiting count begins at this one's end. */
  private rebase(c: number, d: number): void {
    const v = this.view;
    if (v.running[c] === 0 || (v.mode[c] !== 2 && v.mode[c] !== 3)) return;
    const periods = Math.floor(d / v.reload[c]);
    v.startNs[c] += periods * v.reload[c] * NS_PER_TICK;
    if (c === 0) v.edgesDriven[0] -= periods;
  }

  private start(c: number, now: number, elapsed = 0): void {
    const v = this.view;
    // A thousandth of a tick keeps the division from falling short of the tick it resumes at.
    v.startNs[c] = elapsed === 0 ? now : now - (elapsed + 0.001) * NS_PER_TICK;
    v.running[c] = 1;
  }

  private hold(c: number, now: number): void {
    this.view.heldTicks[c] = this.ticks(c, now);
    this.view.running[c] = 0;
  }

  private out(c: number, d: number): 0 | 1 {
    const v = this.view;
    return outputAt(v.mode[c], v.reload[c], d, v.loaded[c] === 1, this.counting(c));
  }

  private counting(c: number): boolean {
    const v = this.view;
    const mode = v.mode[c];
    if (mode === 1 || mode === 5) return v.triggered[c] === 1;
    return mode === 0 || mode === 4 ? v.loaded[c] === 1 : v.running[c] === 1;
  }

  private current(c: number, now: number): number {
    const v = this.view;
    const d = this.settledTicks(c, now);
    return toRegister(countAt(v.mode[c], v.reload[c], d, this.counting(c), v.bcd[c] === 1), v.bcd[c] === 1);
  }

  // Registers

  private writeControl(value: number): void {
    const now = this.clock.monotonicNs();
    const select = value >> 6;
    if (select === READ_BACK) {
      for (let c = 0; c < 3; c++) {
        if ((value & (2 << c)) === 0) continue;
        if ((value & READ_BACK_NO_COUNT) === 0) this.latchCount(c, now);
        if ((value & READ_BACK_NO_STATUS) === 0) this.latchStatus(c, now);
      }
    } else if (((value >> 4) & 3) === 0) this.latchCount(select, now);
    else this.program(select, value);
  }

  /** A latched count stays until it is read: further latch commands are ignored. 8254 "Counter latch command" */
  private latchCount(c: number, now: number): void {
    const v = this.view;
    if (v.countLatched[c]) return;
    v.latch[c] = this.current(c, now);
    v.countLatched[c] = v.access[c];
  }

  private latchStatus(c: number, now: number): void {
    const v = this.view;
    if (v.statusLatched[c]) return;
    const out = this.out(c, this.settledTicks(c, now)) ? STATUS_OUT : 0;
    const nullCount = v.loaded[c] === 0 || v.waiting[c] !== 0 ? STATUS_NULL_COUNT : 0;
    v.status[c] = out | nullCount | (v.access[c] << 4) | (v.mode[c] << 1) | v.bcd[c];
    v.statusLatched[c] = 1;
  }

  private program(c: number, value: number): void {
    const v = this.view;
    const mode = (value >> 1) & 7;
    v.access[c] = (value >> 4) & 3;
    v.mode[c] = mode > 5 ? mode - 4 : mode;
    v.bcd[c] = value & 1;
    for (const flag of [v.readMsb, v.writeMsb, v.countLatched, v.statusLatched, v.loaded, v.running, v.triggered]) flag[c] = 0;
    v.heldTicks[c] = 0;
    v.waiting[c] = 0;
    if (c !== 0) return;
    v.owed[0] = 0;
    this.drive(v.mode[0] === 0 ? 0 : 1);
    this.arm();
  }

  private writeCounter(c: number, value: number): void {
    const v = this.view;
    if (v.access[c] === 3 && v.writeMsb[c] === 0) {
      v.writeLow[c] = value;
      v.writeMsb[c] = 1;
      if (v.mode[c] === 0) this.stopMode0(c);
      return;
    }
    v.writeMsb[c] = 0;
    if (v.access[c] === 1) this.load(c, value);
    else this.load(c, (value << 8) | (v.access[c] === 3 ? v.writeLow[c] : 0));
  }

  /** 8254 "Mode 0": writing the first byte disables counting and sets OUT low at once. */
  private stopMode0(c: number): void {
    this.view.loaded[c] = 0;
    this.view.running[c] = 0;
    if (c !== 0) return;
    this.drive(0);
    this.arm();
  }

  private load(c: number, register: number): void {
    const v = this.view;
    const now = this.clock.monotonicNs();
    const count = fromRegister(register, v.bcd[c] === 1);
    const mode = v.mode[c];
    if (mode === 1 || mode === 5 || ((mode === 2 || mode === 3) && v.running[c])) {
      this.rebase(c, this.settledTicks(c, now));
      if (v.loaded[c] === 0) v.reload[c] = count;
      v.loaded[c] = 1;
      v.waiting[c] = count;
      return;
    }
    v.loaded[c] = 1;
    v.reload[c] = count;
    v.waiting[c] = 0;
    v.heldTicks[c] = 0;
    v.running[c] = 0;
    if (v.gate[c]) this.start(c, now);
    if (c !== 0) return;
    v.edgesDriven[0] = 0;
    v.owed[0] = 0;
    if (mode === 0) this.drive(0);
    this.arm();
  }

  private readCounter(c: number): number {
    const v = this.view;
    if (v.statusLatched[c]) {
      v.statusLatched[c] = 0;
      return v.status[c];
    }
    const value = v.countLatched[c] ? v.latch[c] : this.current(c, this.clock.monotonicNs());
    const msb = v.access[c] === 2 || (v.access[c] === 3 && v.readMsb[c] === 1);
    if (v.access[c] === 3) v.readMsb[c] ^= 1;
    if (v.access[c] !== 3 || msb) v.countLatched[c] = 0;
    return msb ? value >> 8 : value & 0xff;
  }

  // Counter 2's gate

  private readSystemControl(): number {
    const now = this.clock.monotonicNs();
    const refresh = Math.floor(now / REFRESH_NS) % 2 === 1 ? NMI_SC_REFRESH_TOGGLE : 0;
    const out = this.out(2, this.settledTicks(2, now)) ? NMI_SC_TIMER2_OUT : 0;
    return this.view.control[0] | refresh | out;
  }

  private writeSystemControl(value: number): void {
    this.view.control[0] = value & NMI_SC_WRITABLE;
    const gate = value & NMI_SC_TIMER2_GATE;
    if (gate !== this.view.gate[2]) this.setGate(2, gate ? 1 : 0);
  }

  /** 8254 figure 22, "Gate pin operations summary". */
  private setGate(c: number, level: 0 | 1): void {
    const v = this.view;
    const now = this.clock.monotonicNs();
    const mode = v.mode[c];
    v.gate[c] = level;
    if (v.loaded[c] === 0) return;
    if (mode === 0 || mode === 4) {
      if (level) this.start(c, now, v.heldTicks[c]);
      else this.hold(c, now);
    } else if (level) {
      if (v.waiting[c]) v.reload[c] = v.waiting[c];
      v.waiting[c] = 0;
      v.triggered[c] = 1;
      this.start(c, now);
    } else if (mode === 2 || mode === 3) this.hold(c, now);
  }

  // Counter 0's output wire

  private drive(level: 0 | 1): void {
    if (this.view.line[0] === level) return;
    this.view.line[0] = level;
    this.output.setLevel(level);
  }

  /** One rising edge. Nothing in the machine can observe how long the low phase before it was. */
  private pulse(): void {
    this.drive(0);
    this.view.line[0] = 1;
    const took = this.output.setLevel(1);
    if (took === 0) this.owe(1);
  }

  private owe(ticks: number): void {
    if (this.reinject) this.view.owed[0] = Math.min(MAX_OWED, this.view.owed[0] + ticks);
  }

  private arm(): void {
    this.timer?.[Symbol.dispose]();
    this.timer = undefined;
    const v = this.view;
    if (v.loaded[0] === 0 || v.running[0] === 0) return;
    const period = v.reload[0] * NS_PER_TICK;
    const periodic = v.mode[0] === 2 || v.mode[0] === 3;
    const step = periodic && period < MIN_TIMER_NS ? Math.ceil(MIN_TIMER_NS / period) : 1;
    const tick = nextEdgeTick(v.mode[0], v.reload[0], v.edgesDriven[0] + step - 1);
    if (tick < 0) return;
    this.timer = this.clock.setTimer(v.startNs[0] + Math.ceil(tick * NS_PER_TICK) + 1, this.onTimer);
  }

  private expire(): void {
    const v = this.view;
    const d = this.settledTicks(0, this.clock.monotonicNs());
    const periodic = v.mode[0] === 2 || v.mode[0] === 3;
    const next = nextEdgeTick(v.mode[0], v.reload[0], v.edgesDriven[0]);
    if (next >= 0 && d >= next && v.loaded[0] && v.running[0]) {
      const edges = periodic ? Math.floor(d / v.reload[0]) - v.edgesDriven[0] : 1;
      v.edgesDriven[0] += edges;
      this.owe(edges - 1);
      if (v.mode[0] === 0) this.drive(1);
      else this.pulse();
    }
    this.arm();
  }

  /** Stops the timer; the state bytes stay as they are. */
  [Symbol.dispose](): void {
    this.timer?.[Symbol.dispose]();
    this.timer = undefined;
  }

  save(): Uint8Array {
    return saveImage(IMAGE, this.clock.monotonicNs(), this.bytes);
  }

  /** @throws IrqChipError IRQCHIP_BAD_STATE, and then nothing has changed. */
  restore(image: unknown): void {
    this.prepareRestore(image)();
  }

  /** Checks an image; the returned function takes it over. The output pin is not driven: its level is part of the receiver. */
  prepareRestore(image: unknown): () => void {
    const { bytes, savedNs } = openImage(IMAGE, image);
    const view = PIT_LAYOUT.view(bytes.buffer);
    for (let c = 0; c < 3; c++) {
      const max = view.bcd[c] ? 10_000 : 65_536;
      if (view.mode[c] > 5) throw bad(IMAGE, 'has an impossible mode');
      if (view.access[c] < 1 || view.access[c] > 3) throw bad(IMAGE, 'has an impossible access width');
      if (view.reload[c] > 65_536 || (view.loaded[c] && view.reload[c] === 0)) throw bad(IMAGE, 'has an impossible count');
      if (view.waiting[c] > max) throw bad(IMAGE, 'has an impossible waiting count');
      if (!(Math.abs(view.startNs[c]) <= Number.MAX_SAFE_INTEGER && view.startNs[c] <= savedNs))
        throw bad(IMAGE, 'begins counting in the future');
      if (!(view.heldTicks[c] >= 0 && Number.isFinite(view.heldTicks[c]))) throw bad(IMAGE, 'has an impossible tick count');
      for (const flag of [view.bcd, view.readMsb, view.writeMsb, view.statusLatched, view.gate, view.loaded, view.running])
        if (flag[c] > 1) throw bad(IMAGE, 'has a flag that is neither 0 nor 1');
      if (view.triggered[c] > 1 || view.countLatched[c] > 3) throw bad(IMAGE, 'has an impossible latch');
    }
    if (view.line[0] > 1 || view.control[0] > NMI_SC_WRITABLE || view.owed[0] > MAX_OWED) throw bad(IMAGE, 'is out of range');
    if (view.gate[0] !== 1 || view.gate[1] !== 1) throw bad(IMAGE, 'closes a gate that is tied high');
    if (!Number.isSafeInteger(view.edgesDriven[0])) throw bad(IMAGE, 'has an impossible edge count');
    return () => {
      const shift = this.clock.monotonicNs() - savedNs;
      for (let c = 0; c < 3; c++) view.startNs[c] += shift;
      this.bytes.set(bytes);
      this.arm();
    };
  }
}

/** An 8254 over `options.state`; all-zero bytes are taken as power-on. */
export function createPit(options: PitOptions): Pit {
  return new Pit(options);
}
