/** The I/O APIC: 82093AA, 24 inputs. */
import { array, defineLayout } from '@tsvisor/state-layout';
import { DELIVERY_EXTINT, DELIVERY_LOWEST } from './lapic-registers.ts';
import type { DeliveryCount, IoLen, StatePlace } from './ports.ts';
import { bad, bytesAt, openImage, saveImage } from './state-image.ts';

export const IOAPIC_PINS = 24;

export const IOAPIC_LAYOUT = defineLayout('ioapic', {
  /** IOREDTBL: low half of entry n at 2n, high half at 2n + 1. */
  redirtbl: array('u32', 2 * IOAPIC_PINS),
  /** Levels of the inputs, active meaning 1 whatever the polarity bit says. */
  lines: array('u32', 1),
  ioregsel: array('u32', 1),
  /** IOAPICID bits 27–24. */
  id: array('u32', 1),
  poweredOn: array('u32', 1),
});

const IMAGE = { name: 'IOAPIC', id: 3, version: 1, size: IOAPIC_LAYOUT.size } as const;

const IOREGSEL = 0x00;
const IOWIN = 0x10;
const IOEOI = 0x40;
const IOAPICID = 0x00;
const IOAPICVER = 0x01;
const IOAPICARB = 0x02;
const IOREDTBL = 0x10;

const LOGICAL = 1 << 11;
const DELIVERY_STATUS = 1 << 12;
const REMOTE_IRR = 1 << 14;
const LEVEL_TRIGGERED = 1 << 15;
const MASKED = 1 << 16;
const REDIR_WRITABLE = 0x1ffff & ~(DELIVERY_STATUS | REMOTE_IRR);
const REDIR_HIGH_WRITABLE = 0xff00_0000;

/** Takes an interrupt message: destination field (8 bits), logical or physical, delivery mode, vector, level-triggered. */
export type InterruptBus = {
  readonly deliver: (dest: number, logical: boolean, mode: number, vector: number, level: boolean) => DeliveryCount;
};

export type IoApicOptions = {
  readonly state: StatePlace;
  readonly bus: InterruptBus;
  /** IOAPICVER: 0x11 (82093AA), or 0x20 with the EOI register at 0x40. Default 0x11. */
  readonly version?: 0x11 | 0x20;
  /** 8 words of one's own, for other threads to see which vectors `eoi` has something to do for: one bit each. */
  readonly eoiVectors?: Uint32Array;
  /** The interrupt of `pin` ended at a processor, whatever its trigger mode. */
  readonly onAck?: (pin: number) => void;
};

export class IoApic {
  /** Register window (conventionally 0xfec00000, 4 KiB or at least 0x44 bytes). */
  readonly device: {
    readonly read: (offset: number, len: IoLen) => number;
    readonly write: (offset: number, len: IoLen, value: number) => void;
  };
  private readonly redirtbl: Uint32Array;
  private readonly lines: Uint32Array;
  private readonly ioregsel: Uint32Array;
  private readonly id: Uint32Array;
  private readonly bytes: Uint8Array;
  private readonly bus: InterruptBus;
  private readonly version: number;
  private readonly onAck: ((pin: number) => void) | undefined;
  private readonly poweredOn: Uint32Array;
  /** Vectors that some entry uses, as a bit map: an EOI of any other needs no search. Derived from the table. */
  private readonly vectors: Uint32Array;

  constructor(options: IoApicOptions) {
    const { buffer, byteOffset } = options.state;
    const view = IOAPIC_LAYOUT.view(buffer, byteOffset);
    this.redirtbl = view.redirtbl;
    this.lines = view.lines;
    this.ioregsel = view.ioregsel;
    this.id = view.id;
    this.poweredOn = view.poweredOn;
    this.bytes = bytesAt(buffer, byteOffset, IOAPIC_LAYOUT.size);
    this.bus = options.bus;
    this.version = options.version ?? 0x11;
    this.vectors = options.eoiVectors ?? new Uint32Array(8);
    this.onAck = options.onAck;
    this.device = {
      read: (offset, len) => this.readWindow(offset, len),
      write: (offset, _len, value) => this.writeWindow(offset, value),
    };
    if (this.poweredOn[0] === 0) this.reset();
    else this.indexVectors();
  }

  /** Every entry masked, ID 0. Input levels belong to their sources and stay. */
  reset(): void {
    const lines = this.lines[0];
    this.bytes.fill(0);
    this.lines[0] = lines;
    this.poweredOn[0] = 1;
    for (let pin = 0; pin < IOAPIC_PINS; pin++) this.redirtbl[2 * pin] = MASKED;
    this.indexVectors();
  }

  /**
   * Sets input `pin` (0–23). An edge at a masked entry is lost (82093AA §3.2.4, bit 16); a level waits.
   */
  setIrq(pin: number, level: 0 | 1): DeliveryCount {
    const bit = 1 << pin;
    if (level === 0) {
      this.lines[0] &= ~bit;
      return 1;
    }
    const rising = (this.lines[0] & bit) === 0;
    this.lines[0] |= bit;
    const entry = this.redirtbl[2 * pin];
    if (entry & MASKED) return -1;
    if ((entry & LEVEL_TRIGGERED) === 0 && !rising) return 0;
    return this.service(pin);
  }

  private service(pin: number): DeliveryCount {
    const entry = this.redirtbl[2 * pin];
    if (entry & MASKED) return -1;
    const mode = (entry >> 8) & 7;
    // Only fixed and lowest priority know level triggering; the others are edges always. 82093AA §3.2.4, delivery mode
    const level = (entry & LEVEL_TRIGGERED) !== 0 && mode <= DELIVERY_LOWEST;
    if (level && entry & REMOTE_IRR) return 0;
    const count = this.bus.deliver(this.redirtbl[2 * pin + 1] >>> 24, (entry & LOGICAL) !== 0, mode, entry & 0xff, level);
    if (level && count >= 0) this.redirtbl[2 * pin] |= REMOTE_IRR;
    return count;
  }

  /** A processor ended `vector`: remote IRR falls, and a line that is still active asks again. */
  eoi(vector: number, level: boolean): void {
    if ((this.vectors[vector >> 5] & (1 << (vector & 31))) === 0) return;
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const entry = this.redirtbl[2 * pin];
      if ((entry & 0xff) !== vector) continue;
      if (level && entry & REMOTE_IRR) {
        this.redirtbl[2 * pin] = entry & ~REMOTE_IRR;
        this.onAck?.(pin);
        if (this.lines[0] & (1 << pin)) this.service(pin);
      } else if (!level && (entry & LEVEL_TRIGGERED) === 0) this.onAck?.(pin);
    }
  }

  private readWindow(offset: number, len: IoLen): number {
    const value = offset === IOREGSEL ? this.ioregsel[0] : offset === IOWIN ? this.readSelected() : 0;
    return len === 4 ? value : value & (2 ** (8 * len) - 1);
  }

  private writeWindow(offset: number, value: number): void {
    if (offset === IOREGSEL) this.ioregsel[0] = value & 0xff;
    else if (offset === IOWIN) this.writeSelected(value);
    else if (offset === IOEOI && this.version >= 0x20) this.eoi(value & 0xff, true);
  }

  private readSelected(): number {
    switch (this.ioregsel[0]) {
      case IOAPICID:
      case IOAPICARB:
        return this.id[0] << 24;
      case IOAPICVER:
        return ((IOAPIC_PINS - 1) << 16) | this.version;
      default: {
        const index = this.ioregsel[0] - IOREDTBL;
        return index >= 0 && index < this.redirtbl.length ? this.redirtbl[index] : 0;
      }
    }
  }

  private writeSelected(value: number): void {
    if (this.ioregsel[0] === IOAPICID) {
      this.id[0] = (value >>> 24) & 15;
      return;
    }
    const index = this.ioregsel[0] - IOREDTBL;
    if (index < 0 || index >= this.redirtbl.length) return;
    if (index & 1) this.redirtbl[index] = (value & REDIR_HIGH_WRITABLE) >>> 0;
    else this.writeEntry(index >> 1, value);
  }

  private writeEntry(pin: number, value: number): void {
    const kept = this.redirtbl[2 * pin] & (REMOTE_IRR | DELIVERY_STATUS);
    let entry = (value & REDIR_WRITABLE) | kept;
    // Drivers without an EOI register clear remote IRR by switching the entry to edge and back (Linux: __eoi_ioapic_pin).
    if ((entry & LEVEL_TRIGGERED) === 0) entry &= ~REMOTE_IRR;
    this.redirtbl[2 * pin] = entry;
    this.indexVectors();
    if (entry & LEVEL_TRIGGERED && this.lines[0] & (1 << pin)) this.service(pin);
  }

  private indexVectors(): void {
    this.vectors.fill(0);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const vector = this.redirtbl[2 * pin] & 0xff;
      this.vectors[vector >> 5] |= 1 << (vector & 31);
    }
  }

  /** Entry `pin` is set up to ask a processor for the 8259A's vector. */
  isExtInt(pin: number): boolean {
    return (this.redirtbl[2 * pin] & MASKED) === 0 && ((this.redirtbl[2 * pin] >> 8) & 7) === DELIVERY_EXTINT;
  }

  save(): Uint8Array {
    return saveImage(IMAGE, 0, this.bytes);
  }

  /** @throws IrqChipError IRQCHIP_BAD_STATE, and then nothing has changed. */
  restore(image: unknown): void {
    this.prepareRestore(image)();
  }

  /** Checks an image; the returned function takes it over. Nothing is delivered: what was, is in the local APICs' state. */
  prepareRestore(image: unknown): () => void {
    const { bytes } = openImage(IMAGE, image);
    const view = IOAPIC_LAYOUT.view(bytes.buffer);
    if (view.poweredOn[0] !== 1) throw bad(IMAGE, 'was never powered on');
    if (view.ioregsel[0] > 0xff || view.id[0] > 15 || view.lines[0] >>> IOAPIC_PINS) throw bad(IMAGE, 'is out of range');
    for (let i = 0; i < view.redirtbl.length; i++) {
      const allowed = i & 1 ? REDIR_HIGH_WRITABLE : 0x1ffff;
      if (view.redirtbl[i] & ~allowed) throw bad(IMAGE, `sets reserved bits of redirection entry ${i >> 1}`);
    }
    return () => {
      this.bytes.set(bytes);
      this.indexVectors();
    };
  }
}

/** An 82093AA over `options.state`; all-zero bytes are taken as power-on. */
export function createIoApic(options: IoApicOptions): IoApic {
  return new IoApic(options);
}
