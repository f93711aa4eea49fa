/** A machine for random programs: everything it does can be seen, and it goes on after every fault. */
import { createMmu, GuestMemory, MMU, resetMmuState, TLB_BYTES } from '@tsvisor/mmu-ept-npt';
import type { ProcessorConfig } from '../../src/index.ts';
import { createProcessor, type Processor } from '../../src/index.ts';
import { resetState } from '../../src/reset.ts';
import { CPU, Rflags, Seg } from '../../src/state.ts';
import { Attr, Cr0, Cr4, Efer } from '../../src/system/context.ts';
import { deliverException, TripleFault, UnsupportedFeature } from '../../src/system/events.ts';
import { setSegment } from '../../src/system/segments.ts';
import { platformOf } from '../host-oracle/test-machine.ts';
import { baseImage } from './image.ts';
import { CODE_BYTES, DATA_BYTES, INTERRUPT, Log, PAGE, Place, Selector, TABLE } from './places.ts';
import type { Start } from './program.ts';

const LINEAR_BYTES = 32 << 20;
const CODE_RECORDS = 4 << 20;
const PHYSICAL_BITS = 40;
/** Fields of the state that must agree at every instruction boundary, and their bytes. */
const COMPARED = [
  ['gpr', 128],
  ['cr2', 8],
  ['rip', 8],
  ['segBase', 64],
  ['segLimit', 32],
  ['segAttr', 32],
  ['segSel', 16],
  ['cpl', 4],
  ['cr0', 8],
  ['cr3', 8],
  ['cr4', 8],
  ['dr', 64],
  ['mxcsr', 4],
  ['fcw', 4],
  ['fsw', 4],
  ['ftop', 4],
  ['fempty', 4],
  ['fop', 4],
  ['fip', 8],
  ['fdp', 8],
  ['fpr', 128],
  ['xmm', 256],
  ['ymmHigh', 256],
] as const;

/** What programs can write to: compared wherever they stop; all memory is compared at the end. */
const WRITABLE = [
  [Place.gdt, Place.handlers],
  [Place.log, Place.eventStack],
  [Place.data, Place.ram],
] as const;

/** The last one is of `step` alone: the other machine took no interrupt where it had to. */
export type Ending = 'halt' | 'shutdown' | 'error' | 'interrupt not taken' | undefined;

export class TierMachine {
  readonly processor: Processor;
  readonly #state: Buffer;
  readonly ram: Buffer;
  readonly #ramAddress: number;
  readonly #base = baseImage();
  /** An interrupt waits. */
  interrupt = false;
  /** `instructions` at which interrupts were taken. */
  readonly taken: number[] = [];
  /** It refused an instruction, and would go on refusing. */
  #dead = false;
  /** Accesses to devices in order, as text. */
  readonly io: string[] = [];
  /** Whether an interrupt arrives with the device access that has just happened. */
  arrives: ((accesses: number) => boolean) | undefined;

  constructor(config: Pick<ProcessorConfig, 'tier' | 'heat' | 'checked' | 'compiler'>) {
    const memory = new WebAssembly.Memory({ initial: LINEAR_BYTES >> 16, maximum: 65536, shared: true });
    let next = PAGE;
    let stateAt = 0;
    const alloc = (bytes: number, align: number): number => {
      const at = Math.ceil(next / align) * align;
      next = at + bytes;
      if (next > memory.buffer.byteLength) throw new RangeError('linear memory is used up');
      if (bytes === CPU.size) stateAt = at;
      return at;
    };
    const guest = new GuestMemory({ memory, alloc, onCodeWrite: (host, length) => this.processor.codeWritten(host, length) });
    guest.createSlot({ gpa: 0, bytes: Place.ram });
    const stateAddress = alloc(MMU.size, MMU.align);
    const tlbAddress = alloc(TLB_BYTES, 16);
    const mmu = createMmu({ memory, stateAddress, tlbAddress, guest });
    resetMmuState(mmu.state, PHYSICAL_BITS);
    const log = (text: string): void => {
      this.io.push(text);
      if (!this.arrives?.(this.io.length)) return;
      this.interrupt = true;
      this.processor.requestExit();
    };
    const answer = (): number => Math.imul(this.io.length + 1, 0x9e37_79b1) >>> 0;
    const access = (kind: string, at: number, length: number): number => {
      const value = answer() >>> (32 - 8 * Math.min(length, 4));
      log(`${kind} ${at.toString(16)} ${length} ${value.toString(16)}`);
      return value;
    };
    this.processor = createProcessor({
      memory,
      alloc,
      mmu: { ...mmu, stateAddress, tlbAddress, offsets: MMU.offset, protectCode: (page) => void mmu.protectCode(page) },
      ...platformOf('tiers', PHYSICAL_BITS),
      pio: {
        read: (port, length) => access('in', port, length),
        write: (port, length, value) => log(`out ${port.toString(16)} ${length} ${value.toString(16)}`),
      },
      mmio: {
        read: (gpa, length) => access('read', gpa, length),
        write: (gpa, length, value) => log(`write ${gpa.toString(16)} ${length} ${value.toString(16)}`),
        write64: (gpa, lo, hi) => log(`write ${gpa.toString(16)} 8 ${hi.toString(16)} ${lo.toString(16)}`),
      },
      interrupts: {
        pending: () => this.interrupt,
        acknowledge: () => {
          this.interrupt = false;
          this.taken.push(this.processor.instructions);
          return INTERRUPT;
        },
        takeNmi: () => false,
        readTpr: () => 0,
        writeTpr: () => undefined,
      },
      // RDRAND and RDSEED are left out of programs, but one that goes astray may come upon them in the middle of others.
      entropy: { fill: (out) => void out.fill(0x9e37_79b9) },
      codeBytes: CODE_RECORDS,
      ...config,
    });
    this.#state = Buffer.from(memory.buffer, stateAt, CPU.size);
    this.#ramAddress = guest.hostAddress(0) as number;
    this.ram = Buffer.from(memory.buffer, this.#ramAddress, Place.ram);
    this.#enter();
  }

  /** Long mode, at CPL 0. */
  #enter(): void {
    const c = this.processor.context;
    const { state } = c;
    state.cr0 = BigInt(Cr0.PG + (Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM));
    state.cr4 = BigInt(Cr4.PAE | Cr4.PGE | Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.OSXSAVE);
    state.efer = BigInt(Efer.LME | Efer.LMA | Efer.NXE | Efer.SCE);
    state.xcr0 = 7n;
    state.cr3 = BigInt(Place.pml4);
    state.gdtrBase = BigInt(Place.gdt);
    state.gdtrLimit = 0x47;
    state.idtrBase = BigInt(Place.idt);
    state.idtrLimit = 0xfff;
    setSegment(c, Seg.TR, Selector.tss, BigInt(Place.tss), 0x67, Attr.P | 11);
    setSegment(c, Seg.LDTR, 0, 0n, 0, 0);
  }

  /** Puts a program and a state in place. `fresh` forgets all translations first. */
  start(one: Start, fresh: boolean): void {
    const c = this.processor.context;
    const { state } = c;
    if (fresh || this.#dead) this.processor.reset();
    else resetState(c);
    this.#enter();
    this.#dead = false;
    this.#base.copy(this.ram);
    this.ram.set(one.data, Place.data);
    this.ram.set(one.code, Place.code);
    one.table.forEach((address, n) => {
      this.ram.writeBigUInt64LE(BigInt(address), TABLE + 8 * n);
    });
    one.resume.forEach((address, n) => {
      this.ram.writeBigUInt64LE(BigInt(address), Place.log + Log.resume + 8 * n);
    });
    for (let at = Place.stack; at < Place.stack + PAGE; at += one.mode / 8) {
      const address = one.resume[(at >> 2) % one.resume.length];
      this.ram.writeUInt32LE(address, at);
    }
    // Wherever an earlier program may have run: one that went astray in the log, too.
    for (const [at, bytes] of [
      [Place.gdt, Place.handlers - Place.gdt],
      [Place.log, Place.eventStack - Place.log],
      [Place.data, DATA_BYTES],
      [Place.code, CODE_BYTES],
      [Place.stack, PAGE],
      [Place.readOnly, PAGE],
    ])
      this.processor.codeWritten(this.#ramAddress + at, bytes);

    const pointers = Place.log + Log.pointers;
    [one.stackTop, one.frame, one.frame2].forEach((value, n) => {
      this.ram.writeUInt32LE(value, pointers + 8 * n);
    });

    this.interrupt = false;
    this.arrives = undefined;
    this.taken.length = 0;
    this.io.length = 0;
    const dpl = one.cpl << Attr.DPL_SHIFT;
    const wide = one.mode === 64;
    const user = one.cpl === 3;
    const code = wide ? (user ? Selector.userCode64 : Selector.code64) : user ? Selector.userCode32 : Selector.code32;
    const data = user ? Selector.userData : Selector.data;
    setSegment(c, Seg.CS, code, 0n, 0xffff_ffff, Attr.P | Attr.S | 0xb | Attr.G | (wide ? Attr.L : Attr.DB) | dpl);
    for (const seg of [Seg.SS, Seg.DS, Seg.ES, Seg.FS, Seg.GS])
      setSegment(c, seg, data, 0n, 0xffff_ffff, Attr.P | Attr.S | 3 | Attr.G | Attr.DB | dpl);
    state.segBase[Seg.FS] = BigInt(one.fsBase);
    state.segBase[Seg.GS] = BigInt(one.gsBase);
    state.cpl = one.cpl;
    state.cr3 = BigInt(Place.pml4);
    state.gpr.set(one.gpr);
    state.gpr[4] = BigInt(one.stackTop);
    state.gpr[5] = BigInt(one.frame);
    if (wide) state.gpr[13] = BigInt(one.frame2);
    state.rip = BigInt(one.entry);
    c.rflags = one.rflags | Rflags.FIXED;
    state.cr2 = 0n;
    state.dr.fill(0n);
    state.dr[6] = 0xffff_0ff0n;
    state.dr[7] = 0x400n;
    state.xmm.set(one.xmm);
    state.ymmHigh.fill(0n);
    state.mxcsr = 0x1f80;
    state.fcw = 0x37f;
    state.fsw = 0;
    state.ftop = 0;
    state.fempty = 0xff;
    state.fop = 0;
    state.fip = 0n;
    state.fdp = 0n;
    state.fcs = 0;
    state.fds = 0;
    state.fpr.fill(0n);
    state.instructions = 0;
    state.halted = 0;
    state.interruptShadow = 0;
    state.interruptPending = 0;
    state.nmiBlocked = 0;
    c.updateMmu();
    c.flushTlb();
    c.updateMode();
  }

  get instructions(): number {
    return this.processor.instructions;
  }

  run(budget: number): Ending {
    const { reason } = this.processor.run(budget);
    if (reason === 'error') this.#dead = true;
    return reason === 'budget' || reason === 'pause' ? undefined : reason;
  }

  get #shadowed(): boolean {
    const { state } = this.processor.context;
    return state.interruptShadow !== 0 && state.rip === state.shadowRip;
  }

  /**
   * Holds interrupts off where another machine at the same place does: one that went round in a repeated instruction behind MOV SS may
   * take it for the first round still. Nothing says how long such a machine may wait, only that it must not take them too early.
   */
  holdLike(other: TierMachine): void {
    if (!other.#shadowed || this.#shadowed) return;
    const [mine, theirs] = [this.processor.context.state, other.processor.context.state];
    mine.interruptShadow = theirs.interruptShadow;
    mine.shadowRip = theirs.shadowRip;
  }

  /**
   * One instruction, or one delivery of an exception or interrupt. With `takes` an interrupt that can be taken is; without, the fetch of
   * the next instruction must fault first: nothing says which of the two comes first, and it depends on what has been translated.
   */
  step(takes: boolean): Ending {
    const c = this.processor.context;
    const { state } = c;
    const due = this.interrupt && (state.rflags & Rflags.IF) !== 0 && !this.#shadowed;
    // Interrupts are the run loop's, and nothing else if there is no budget.
    if (state.halted || (due && takes)) return this.run(0);
    // So are traps after single steps.
    if (state.rflags & Rflags.TF && !due) return this.run(1);
    const { interruptShadow } = state;
    state.interruptShadow = 0;
    const before = this.instructions;
    try {
      const { fault } = this.processor.stepOne();
      // It may only have got as far as a translation: then the shadow is still to come.
      if (!fault && this.instructions === before && state.rip === state.shadowRip) state.interruptShadow = interruptShadow;
      if (due && (this.instructions !== before || !fault || state.exitRecord !== 0)) return 'interrupt not taken';
      if (fault) deliverException(c, fault.vector, fault.error);
    } catch (error) {
      if (error instanceof TripleFault) return 'shutdown';
      this.#dead = true;
      if (error instanceof UnsupportedFeature) return 'error';
      throw error;
    }
    return undefined;
  }

  /** What differs from another machine that has retired as many instructions; undefined if nothing does. `all` looks at all memory. */
  difference(other: TierMachine, all = false): string | undefined {
    for (const [field, bytes] of COMPARED) {
      const at = CPU.offset[field];
      if (this.#state.compare(other.#state, at, at + bytes, at, at + bytes) === 0) continue;
      for (let n = 0; n < bytes; n += 4) {
        const [mine, theirs] = [this.#state.readUInt32LE(at + n), other.#state.readUInt32LE(at + n)];
        if (mine !== theirs) return `${field}+${n}: ${mine.toString(16)}, not ${theirs.toString(16)}`;
      }
    }
    const [mine, theirs] = [this.processor.context.rflags, other.processor.context.rflags];
    if (mine !== theirs) return `rflags: ${mine.toString(16)}, not ${theirs.toString(16)}`;
    for (const [from, to] of all ? [[0, Place.ram]] : WRITABLE) {
      if (this.ram.compare(other.ram, from, to, from, to) === 0) continue;
      let at = from;
      while (this.ram[at] === other.ram[at]) at++;
      return `memory at ${at.toString(16)}: ${this.ram.toString('hex', at, at + 8)}, not ${other.ram.toString('hex', at, at + 8)}`;
    }
    return this.#ioDifference(other);
  }

  /** How the accesses to devices differ. */
  #ioDifference(other: TierMachine): string | undefined {
    if (this.io.length !== other.io.length) return `${this.io.length} device accesses, not ${other.io.length}`;
    const n = this.io.findIndex((text, i) => text !== other.io[i]);
    if (n >= 0) return `device access ${this.io[n]}, not ${other.io[n]}`;
    if (this.taken.join() !== other.taken.join()) return `interrupts at ${this.taken}, not ${other.taken}`;
    return undefined;
  }
}
