/**
 * The 8259A pair of a PC: master on IR0–7, slave on IR8–15 cascaded into the master's IR2, with the edge/level control registers
 * of the PCI bridges (82371AB §4.2.5).
 *
 * An edge, once seen, stays latched until it is acknowledged or the chip is initialised. The 8259A would forget it when the input
 * falls first; sources here may pulse their line (as an eventfd does), and the guest must not lose that pulse.
 */
import { array, defineLayout } from '@tsvisor/state-layout';
import type { ByteDevice } from './byte-device.ts';
import { byteDevice } from './byte-device.ts';
import type { DeliveryCount, StatePlace } from './ports.ts';
import { bad, bytesAt, openImage, saveImage } from './state-image.ts';

const chips = array('u8', 2);

/** State of both chips; index 0 is the master, 1 the slave. */
export const PIC_LAYOUT = defineLayout(
  'pic',
  {
    irr: chips,
    isr: chips,
    imr: chips,
    /** Present levels of the eight inputs, the edge detector's memory. */
    lines: chips,
    elcr: chips,
    icw1: chips,
    icw2: chips,
    icw3: chips,
    icw4: chips,
    /** Initialisation step: 0 none, otherwise the number of the ICW expected next (2, 3 or 4). */
    expectedIcw: chips,
    /** OCW3.RIS: 0 reads IRR, 1 reads ISR. */
    readIsr: chips,
    poll: chips,
    specialMask: chips,
    rotateInAutoEoi: chips,
    /** The input with the highest priority, 0 after initialisation. */
    highestPriority: chips,
    /** Level of the INT output. */
    int: chips,
  },
  { size: 32 },
);

const IMAGE = { name: '8259A', id: 1, version: 1, size: PIC_LAYOUT.size } as const;

const MASTER = 0;
const SLAVE = 1;
const CASCADE = 0x04;

const ICW1_ICW4_NEEDED = 0x01;
const ICW1_SINGLE = 0x02;
const ICW1_SELECT = 0x10;
const ICW4_AUTO_EOI = 0x02;
const ICW4_SPECIAL_FULLY_NESTED = 0x10;
const OCW3_SELECT = 0x08;
const OCW3_READ_ISR = 0x01;
const OCW3_READ_REGISTER = 0x02;
const OCW3_POLL = 0x04;
const OCW3_SPECIAL_MASK = 0x20;
const OCW3_ENABLE_SPECIAL_MASK = 0x40;
const POLL_INTERRUPT = 0x80;

/** IRQ0–2, 8 and 13 are edge-triggered on a PC whatever is written. 82371AB §4.2.5.1–2 */
const ELCR_WRITABLE = [0xf8, 0xde] as const;

export type PicPairOptions = {
  readonly state: StatePlace;
  /** The master's INT output changed. Called on changes only. */
  readonly onIntr?: (level: 0 | 1) => void;
  /** Interrupt `pin` (0–15) ended: EOI, acknowledged under automatic EOI, or discarded by initialisation. */
  readonly onAck?: (pin: number) => void;
};

/** Two cascaded 8259A. Data sheet: Intel 231468. */
export class PicPair {
  /** Register files: A0 = 0 and 1 of the master (conventionally ports 0x20–0x21) and of the slave (0xa0–0xa1). */
  readonly master: ByteDevice;
  readonly slave: ByteDevice;
  /** Edge/level control, one byte for each chip (conventionally ports 0x4d0–0x4d1). */
  readonly elcr: ByteDevice;

  private readonly irr: Uint8Array;
  private readonly isr: Uint8Array;
  private readonly imr: Uint8Array;
  private readonly lines: Uint8Array;
  private readonly level: Uint8Array;
  private readonly icw1: Uint8Array;
  private readonly icw2: Uint8Array;
  private readonly icw3: Uint8Array;
  private readonly icw4: Uint8Array;
  private readonly expectedIcw: Uint8Array;
  private readonly readIsr: Uint8Array;
  private readonly poll: Uint8Array;
  private readonly specialMask: Uint8Array;
  private readonly rotateInAutoEoi: Uint8Array;
  private readonly highestPriority: Uint8Array;
  private readonly int: Uint8Array;
  private readonly bytes: Uint8Array;
  private readonly options: PicPairOptions;

  constructor(options: PicPairOptions) {
    const view = PIC_LAYOUT.view(options.state.buffer, options.state.byteOffset);
    this.bytes = bytesAt(options.state.buffer, options.state.byteOffset, PIC_LAYOUT.size);
    this.options = options;
    this.irr = view.irr;
    this.isr = view.isr;
    this.imr = view.imr;
    this.lines = view.lines;
    this.level = view.elcr;
    this.icw1 = view.icw1;
    this.icw2 = view.icw2;
    this.icw3 = view.icw3;
    this.icw4 = view.icw4;
    this.expectedIcw = view.expectedIcw;
    this.readIsr = view.readIsr;
    this.poll = view.poll;
    this.specialMask = view.specialMask;
    this.rotateInAutoEoi = view.rotateInAutoEoi;
    this.highestPriority = view.highestPriority;
    this.int = view.int;
    this.master = this.registers(MASTER);
    this.slave = this.registers(SLAVE);
    this.elcr = byteDevice(
      2,
      (chip) => this.level[chip],
      (chip, value) => this.writeElcr(chip, value),
    );
  }

  private registers(chip: number): ByteDevice {
    return byteDevice(
      2,
      (a0) => this.readRegister(chip, a0),
      (a0, value) => {
        if (a0 === 1) this.writeOdd(chip, value);
        else if (value & ICW1_SELECT) this.writeIcw1(chip, value);
        else if (value & OCW3_SELECT) this.writeOcw3(chip, value);
        else this.writeOcw2(chip, value);
        this.update();
      },
    );
  }

  /** Sets input `pin` (0–15). Coalesced means that the request was there already; lowering a line always counts as delivered. */
  setIrq(pin: number, level: 0 | 1): DeliveryCount {
    const chip = pin >> 3;
    const bit = 1 << (pin & 7);
    const rising = level === 1 && (this.lines[chip] & bit) === 0;
    const pending = (this.irr[chip] & bit) !== 0;
    if (level === 1) {
      this.lines[chip] |= bit;
      if (rising || this.level[chip] & bit) this.irr[chip] |= bit;
    } else {
      this.lines[chip] &= ~bit;
      if (this.level[chip] & bit) this.irr[chip] &= ~bit;
    }
    // The wire would have shown INT falling and rising with the input; an edge-sensitive LINT0 (NMI watchdog) counts those.
    if (rising && pending && this.int[MASTER] === 1 && this.requested(MASTER) === (chip === MASTER ? pin : 2)) this.setInt(0);
    this.update();
    if (this.imr[chip] & bit) return -1;
    return level === 0 || (!pending && (rising || this.level[chip] & bit)) ? 1 : 0;
  }

  /** INT of the master: the processor's INTR input. */
  pending(): boolean {
    return this.int[MASTER] === 1;
  }

  /**
   * The INTA cycle: returns the vector. Without a request any more, the default IR7 of the chip asked (8259A "Interrupt
   * sequence"), which sets no ISR bit.
   */
  acknowledge(): number {
    const irq = this.requested(MASTER);
    let vector = this.icw2[MASTER] + 7;
    if (irq >= 0) {
      this.take(MASTER, irq);
      vector = this.icw2[MASTER] + irq;
      if (irq === 2) vector = this.acknowledgeSlave();
    }
    this.update();
    return vector;
  }

  private acknowledgeSlave(): number {
    const irq = this.requested(SLAVE);
    this.lowerCascade();
    if (irq < 0) return this.icw2[SLAVE] + 7;
    this.take(SLAVE, irq);
    return this.icw2[SLAVE] + irq;
  }

  /** INT falls with INTA, so that a request that remains makes a new edge on the master's IR2. */
  private lowerCascade(): void {
    this.int[SLAVE] = 0;
    this.lines[MASTER] &= ~CASCADE;
    this.irr[MASTER] &= ~CASCADE;
  }

  private take(chip: number, irq: number): void {
    const bit = 1 << irq;
    if ((this.level[chip] & bit) === 0) this.irr[chip] &= ~bit;
    if ((this.icw4[chip] & ICW4_AUTO_EOI) === 0) {
      this.isr[chip] |= bit;
      return;
    }
    if (this.rotateInAutoEoi[chip]) this.highestPriority[chip] = (irq + 1) & 7;
    this.acked(chip, irq);
  }

  /** The input whose request the chip would signal, or -1. 8259A "Fully nested mode". */
  private requested(chip: number): number {
    const irq = this.first(chip, this.irr[chip] & ~this.imr[chip]);
    if (irq < 0) return -1;
    let inService = this.isr[chip];
    if (this.specialMask[chip]) inService &= ~this.imr[chip];
    const serving = this.first(chip, inService);
    if (serving < 0) return irq;
    const own = this.rank(chip, irq);
    const current = this.rank(chip, serving);
    if (own < current) return irq;
    // 8259A "Special fully nested mode": a slave in service does not lock out its own further requests.
    return own === current && this.isCascade(chip, irq) && this.icw4[chip] & ICW4_SPECIAL_FULLY_NESTED ? irq : -1;
  }

  private isCascade(chip: number, irq: number): boolean {
    return chip === MASTER && irq === 2;
  }

  private rank(chip: number, irq: number): number {
    return (irq - this.highestPriority[chip]) & 7;
  }

  /** The set bit of `mask` with the highest priority, or -1. */
  private first(chip: number, mask: number): number {
    if (mask === 0) return -1;
    const top = this.highestPriority[chip];
    const rotated = ((mask >> top) | (mask << (8 - top))) & 0xff;
    return (31 - Math.clz32(rotated & -rotated) + top) & 7;
  }

  /** Drives the outputs from the present state: slave INT into IR2, master INT to the processor. */
  private update(): void {
    const slave = this.requested(SLAVE) >= 0 ? 1 : 0;
    if (slave !== this.int[SLAVE]) {
      if (slave) {
        this.int[SLAVE] = 1;
        this.lines[MASTER] |= CASCADE;
        this.irr[MASTER] |= CASCADE;
      } else this.lowerCascade();
    }
    this.setInt(this.requested(MASTER) >= 0 ? 1 : 0);
  }

  private setInt(level: 0 | 1): void {
    if (this.int[MASTER] === level) return;
    this.int[MASTER] = level;
    this.options.onIntr?.(level);
  }

  private acked(chip: number, irq: number): void {
    this.options.onAck?.(chip * 8 + irq);
  }

  private readRegister(chip: number, a0: number): number {
    if (this.poll[chip]) return this.readPoll(chip);
    if (a0 === 1) return this.imr[chip];
    return this.readIsr[chip] ? this.isr[chip] : this.irr[chip];
  }

  /** 8259A "Poll command": the next read acts as INTA and gives the request's number. */
  private readPoll(chip: number): number {
    this.poll[chip] = 0;
    const irq = this.requested(chip);
    if (irq < 0) return 0;
    this.take(chip, irq);
    if (chip === SLAVE) this.lowerCascade();
    this.update();
    return POLL_INTERRUPT | irq;
  }

  private writeOdd(chip: number, value: number): void {
    switch (this.expectedIcw[chip]) {
      case 2:
        this.icw2[chip] = value & 0xf8;
        this.expectedIcw[chip] = this.icw1[chip] & ICW1_SINGLE ? this.afterIcw3(chip) : 3;
        return;
      case 3:
        this.icw3[chip] = value;
        this.expectedIcw[chip] = this.afterIcw3(chip);
        return;
      case 4:
        this.icw4[chip] = value & 0x1f;
        this.expectedIcw[chip] = 0;
        return;
      default:
        this.imr[chip] = value; // OCW1
    }
  }

  private afterIcw3(chip: number): number {
    return this.icw1[chip] & ICW1_ICW4_NEEDED ? 4 : 0;
  }

  /**
   * 8259A "Initialization command words", items a–f. LTIM has no effect: the bridge replaces it by ELCR (82371AB §4.2.1).
   * Inputs that are high stay so: only a new rising edge requests again.
   */
  private writeIcw1(chip: number, value: number): void {
    const dropped = (this.irr[chip] & ~this.level[chip]) | this.isr[chip];
    this.icw1[chip] = value;
    this.irr[chip] = this.lines[chip] & this.level[chip];
    this.isr[chip] = 0;
    this.imr[chip] = 0;
    this.highestPriority[chip] = 0;
    this.specialMask[chip] = 0;
    this.readIsr[chip] = 0;
    this.poll[chip] = 0;
    this.rotateInAutoEoi[chip] = 0;
    if ((value & ICW1_ICW4_NEEDED) === 0) this.icw4[chip] = 0;
    this.expectedIcw[chip] = 2;
    if (chip === MASTER && this.int[SLAVE]) this.irr[MASTER] |= CASCADE;
    for (let irq = 0; irq < 8; irq++) if (dropped & (1 << irq)) this.acked(chip, irq);
  }

  private writeOcw3(chip: number, value: number): void {
    if (value & OCW3_ENABLE_SPECIAL_MASK) this.specialMask[chip] = value & OCW3_SPECIAL_MASK ? 1 : 0;
    if (value & OCW3_POLL) this.poll[chip] = 1;
    else if (value & OCW3_READ_REGISTER) this.readIsr[chip] = value & OCW3_READ_ISR;
  }

  /** R, SL, EOI in bits 7–5. 8259A "Operation control word 2". */
  private writeOcw2(chip: number, value: number): void {
    const named = value & 7;
    switch (value >> 5) {
      case 0:
        this.rotateInAutoEoi[chip] = 0;
        return;
      case 4:
        this.rotateInAutoEoi[chip] = 1;
        return;
      case 1:
      case 5:
        this.nonSpecificEoi(chip, value >> 5 === 5);
        return;
      case 3:
        this.endOfInterrupt(chip, named);
        return;
      case 7:
        this.endOfInterrupt(chip, named);
        this.highestPriority[chip] = (named + 1) & 7;
        return;
      case 6:
        this.highestPriority[chip] = (named + 1) & 7;
        return;
      default:
    }
  }

  /** In special mask mode the masked ISR bits are out of a non-specific EOI's reach. 8259A "End of interrupt". */
  private nonSpecificEoi(chip: number, rotate: boolean): void {
    const reachable = this.specialMask[chip] ? this.isr[chip] & ~this.imr[chip] : this.isr[chip];
    const irq = this.first(chip, reachable);
    if (irq < 0) return;
    this.endOfInterrupt(chip, irq);
    if (rotate) this.highestPriority[chip] = (irq + 1) & 7;
  }

  private endOfInterrupt(chip: number, irq: number): void {
    if ((this.isr[chip] & (1 << irq)) === 0) return;
    this.isr[chip] &= ~(1 << irq);
    this.acked(chip, irq);
  }

  private writeElcr(chip: number, value: number): void {
    this.level[chip] = value & ELCR_WRITABLE[chip];
    // A line that became level-triggered requests as long as it is high, and no longer.
    this.irr[chip] = (this.irr[chip] & ~this.level[chip]) | (this.lines[chip] & this.level[chip]);
    this.update();
  }

  /** Power-on: nothing masked or requested, vectors not programmed. Input levels belong to their sources and stay. */
  reset(): void {
    const lines = [this.lines[MASTER] & ~CASCADE, this.lines[SLAVE]];
    const raised = this.int[MASTER] === 1;
    this.bytes.fill(0);
    this.lines.set(lines);
    if (raised) this.options.onIntr?.(0);
  }

  save(): Uint8Array {
    return saveImage(IMAGE, 0, this.bytes);
  }

  /** @throws IrqChipError IRQCHIP_BAD_STATE, and then nothing has changed. */
  restore(image: unknown): void {
    this.prepareRestore(image)();
  }

  /** Checks an image; the returned function takes it over. */
  prepareRestore(image: unknown): () => void {
    const { bytes } = openImage(IMAGE, image);
    const view = PIC_LAYOUT.view(bytes.buffer);
    for (const chip of [MASTER, SLAVE]) {
      if (view.elcr[chip] & ~ELCR_WRITABLE[chip]) throw bad(IMAGE, 'makes an edge-only input level-triggered');
      if (view.icw2[chip] & 7) throw bad(IMAGE, 'has a vector base that is not a multiple of 8');
      if (view.highestPriority[chip] > 7) throw bad(IMAGE, 'has an impossible priority');
      if (view.expectedIcw[chip] === 1 || view.expectedIcw[chip] > 4) throw bad(IMAGE, 'has an impossible initialisation step');
      for (const flag of [view.readIsr, view.poll, view.specialMask, view.rotateInAutoEoi, view.int])
        if (flag[chip] > 1) throw bad(IMAGE, 'has a flag that is neither 0 nor 1');
    }
    return () => {
      const before = this.int[MASTER];
      this.bytes.set(bytes);
      if (this.int[MASTER] !== before) this.options.onIntr?.(this.int[MASTER] ? 1 : 0);
      this.update();
    };
  }
}

/** A pair of 8259A over `options.state`, whose bytes are taken as they are (all zero is power-on). */
export function createPicPair(options: PicPairOptions): PicPair {
  return new PicPair(options);
}
