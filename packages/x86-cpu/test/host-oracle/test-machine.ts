/** The engine under test: one processor at CPL 3 with the address space of the cases, an instruction at a time. */
import { createMmu, GuestMemory, MMU, resetMmuState, TLB_BYTES } from '@tsvisor/mmu-ept-npt';
import { rows } from '../../src/decode/lookup.ts';
import type { OpcodeRow } from '../../src/decode/opcodes.ts';
import { createProcessor, type Processor, type ProcessorConfig } from '../../src/index.ts';
import { semantics } from '../../src/semantics/index.ts';
import { Rflags, Seg } from '../../src/state.ts';
import { Attr, Cr0, Cr4, Efer } from '../../src/system/context.ts';
import { setSegment } from '../../src/system/segments.ts';
import type { Descriptor, Engine, FpState, OracleCase, OracleFault, OracleResult, Patch } from './case.ts';
import { DESCRIPTORS, Layout, Selectors, Stub } from './case.ts';
import { Image } from './fp-state.ts';

/** Guest-physical places. */
const Ram = {
  gdt: 0xf000,
  ldt: 0xf800,
  pdptHigh: 0xc000,
  pdHigh: 0xd000,
  tableHigh: 0xe000,
  pml4: 0x1000,
  pdpt: 0x2000,
  pd: 0x3000,
  tables: 0x4000,
  data: 0x8000,
  code: 0xa000,
  bytes: 0x10000,
} as const;
const Entry = { P: 1n, RW: 2n, US: 4n, A: 32n, D: 64n, NX: 1n << 63n } as const;
const TABLES_ADDRESS = 0xffff_8000_0000_0000n;
const LDT_LIMIT = 8 * DESCRIPTORS.length - 1;
const PAGE = 0x1000;
const PHYSICAL_BITS = 40;
const INT3 = 0xcc;
const PAGE_FAULT = 14;
const GENERAL_PROTECTION = 13;
/** Executions before code is compiled: few, because the loops of `SequencePool` are short. */
const HEAT = 50;
const SEQUENCE_BUDGET = 100_000_000;
const FETCH = 0x10;
const USER_DATA = Attr.P | Attr.S | 3 | (3 << Attr.DPL_SHIFT);
const USER_CODE = Attr.P | Attr.S | 0xb | (3 << Attr.DPL_SHIFT);
/** How often a repeated string instruction may give way before it is called endless. */
const MOST_STEPS = 1000;

/** Whether the engine has semantics for a row at all. */
export const engineHas = (row: OpcodeRow): boolean => row.sem in semantics || row.flow === 'ud' || row.cpl0;

/** A processor model with all the engine has, and around it nothing that answers. */
export const platformOf = (name: string, physicalBits: number): Pick<ProcessorConfig, 'model' | 'msrs' | 'tsc' | 'cpuid'> => ({
  model: {
    name,
    vendor: 'AuthenticAMD',
    brand: '',
    features: new Set(rows.filter(engineHas).map((row) => row.feature)),
    physicalBits,
  },
  msrs: { read: () => false, write: () => false },
  tsc: { read: (out) => void out.fill(0), write: () => undefined },
  cpuid: { query: (_leaf, _subleaf, out) => void out.fill(0) },
});

/** Descriptor bits 40–55 of an entry, as Linux's modify_ldt makes them: DPL 3, accessed, AVL. */
function attributesOf(d: Descriptor): number {
  const type = { data: USER_DATA, down: USER_DATA | 4, code: USER_CODE, conforming: USER_CODE | 4 }[d.type];
  const access = d.readOnly ? type & ~2 : type;
  return ((d.absent ? access & ~Attr.P : access) | Attr.AVL | (d.wide ? Attr.DB : 0) | (d.pages ? Attr.G : 0)) >>> 0;
}

/** The 8 bytes of a descriptor. */
function descriptorBytes(base: number, limit: number, attributes: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, ((limit & 0xffff) | ((base & 0xffff) << 16)) >>> 0, true);
  const high = ((base >>> 16) & 0xff) | (attributes << 8) | (limit & 0xf_0000) | (base & 0xff00_0000);
  view.setUint32(4, high >>> 0, true);
  return new Uint8Array(view.buffer);
}

/** Linux's global descriptor table as far as a process can tell, and the local one of the cases. */
function writeDescriptors(guest: GuestMemory): void {
  const kernel = (attributes: number): number => attributes & ~(3 << Attr.DPL_SHIFT);
  const entries: readonly (readonly [entry: number, attributes: number])[] = [
    [1, kernel(USER_CODE) | Attr.DB],
    [2, kernel(USER_CODE) | Attr.L],
    [3, kernel(USER_DATA) | Attr.DB],
    [4, USER_CODE | Attr.DB],
    [5, USER_DATA | Attr.DB],
    [6, USER_CODE | Attr.L],
  ];
  for (const [entry, attributes] of entries) guest.write(Ram.gdt + 8 * entry, descriptorBytes(0, 0xf_ffff, attributes | Attr.G));
  // The processor's number, for a process to read with LSL: expand-down, read-only.
  guest.write(Ram.gdt + 8 * 15, descriptorBytes(0, 0, Attr.P | Attr.S | 5 | (3 << Attr.DPL_SHIFT) | Attr.DB));
  guest.write(Ram.gdt + 8 * 8, descriptorBytes(0, 0x4087, Attr.P | 11));
  guest.write(Ram.gdt + 8 * 10, descriptorBytes(0, LDT_LIMIT, Attr.P | 2));
  DESCRIPTORS.forEach((d, i) => {
    if (d) guest.write(Ram.ldt + 8 * i, descriptorBytes(d.base, d.limit, attributesOf(d)));
  });
}

/** What the harness puts after the instruction to get control back; never run here, but cases read it. */
function tailOf(one: OracleCase): Uint8Array {
  const tail = new DataView(new ArrayBuffer(8));
  if (one.mode === 64) {
    tail.setUint8(0, 0xe9);
    tail.setInt32(1, Stub.address - (Layout.code + one.codeOffset + one.bytes.length + 5), true);
    return new Uint8Array(tail.buffer, 0, 5);
  }
  const prefix = one.mode === 16 ? 1 : 0;
  if (prefix) tail.setUint8(0, 0x66);
  tail.setUint8(prefix, 0xea);
  tail.setUint32(prefix + 1, Stub.address, true);
  tail.setUint16(prefix + 5, Stub.selector, true);
  return new Uint8Array(tail.buffer, 0, 7 + prefix);
}

function linearMemory() {
  const memory = new WebAssembly.Memory({ initial: 64 * 16, maximum: 65536, shared: true });
  let next = PAGE;
  const alloc = (bytes: number, align: number): number => {
    const at = Math.ceil(next / align) * align;
    next = at + bytes;
    if (next > memory.buffer.byteLength) throw new RangeError('linear memory is used up');
    return at;
  };
  return { memory, alloc };
}

/** Puts the page tables for data and code in place; everything else is not mapped. */
function mapPages(guest: GuestMemory): void {
  const entry = (table: number, index: number, value: bigint): void => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    guest.write(table + 8 * index, bytes);
  };
  const link = Entry.P | Entry.RW | Entry.US | Entry.A;
  entry(Ram.pml4, 0, BigInt(Ram.pdpt) | link);
  entry(Ram.pdpt, 0, BigInt(Ram.pd) | link);
  const areas = [
    { va: Layout.data, gpa: Ram.data, pages: 2, bits: Entry.P | Entry.RW | Entry.US | Entry.A | Entry.D | Entry.NX },
    { va: Layout.code, gpa: Ram.code, pages: 2, bits: Entry.P | Entry.US | Entry.A | Entry.D },
  ];
  areas.forEach(({ va, gpa, pages, bits }, i) => {
    const table = Ram.tables + PAGE * i;
    entry(Ram.pd, va >>> 21, BigInt(table) | link);
    for (let n = 0; n < pages; n++) entry(table, n, BigInt(gpa + n * PAGE) | bits);
  });
  // Descriptor tables are in the upper half, as the kernel's are, out of the cases' reach.
  entry(Ram.pml4, 256, BigInt(Ram.pdptHigh) | link);
  entry(Ram.pdptHigh, 0, BigInt(Ram.pdHigh) | link);
  entry(Ram.pdHigh, 0, BigInt(Ram.tableHigh) | link);
  entry(Ram.tableHigh, 0, BigInt(Ram.gdt) | Entry.P | Entry.RW | Entry.A | Entry.D | Entry.NX);
}

/** Converts between an FXSAVE image and the engine's state (SDM vol. 1 §10.5.1). */
function loadFp(processor: Processor, fp: FpState): void {
  const { state } = processor.context;
  const image = new DataView(fp.image.buffer, fp.image.byteOffset, fp.image.length);
  const status = image.getUint16(Image.fsw, true);
  state.fcw = image.getUint16(Image.fcw, true);
  state.fsw = status & ~0x3800;
  state.ftop = (status >> 11) & 7;
  state.fempty = ~fp.image[Image.ftw] & 0xff;
  state.fop = image.getUint16(Image.fop, true) & 0x7ff;
  state.fip = image.getBigUint64(Image.fip, true);
  state.fdp = image.getBigUint64(Image.fdp, true);
  state.fcs = 0;
  state.fds = 0;
  state.mxcsr = image.getUint32(Image.mxcsr, true);
  for (let i = 0; i < 8; i++) {
    const physical = (state.ftop + i) & 7;
    state.fpr[2 * physical] = image.getBigUint64(Image.st + 16 * i, true);
    state.fpr[2 * physical + 1] = image.getBigUint64(Image.st + 16 * i + 8, true) & 0xffffn;
  }
  for (let i = 0; i < 32; i++) state.xmm[i] = image.getBigUint64(Image.xmm + 8 * i, true);
  state.ymmHigh.fill(0n);
  if (!fp.ymmHigh) return;
  const high = new DataView(fp.ymmHigh.buffer, fp.ymmHigh.byteOffset, fp.ymmHigh.length);
  for (let i = 0; i < 32; i++) state.ymmHigh[i] = high.getBigUint64(8 * i, true);
}

function saveFp(processor: Processor, avx: boolean): FpState {
  const { state } = processor.context;
  const bytes = new Uint8Array(Image.bytes);
  const image = new DataView(bytes.buffer);
  image.setUint16(Image.fcw, state.fcw, true);
  image.setUint16(Image.fsw, state.fsw | (state.ftop << 11), true);
  bytes[Image.ftw] = ~state.fempty & 0xff;
  image.setUint32(Image.mxcsr, state.mxcsr, true);
  for (let i = 0; i < 8; i++) {
    const physical = (state.ftop + i) & 7;
    image.setBigUint64(Image.st + 16 * i, state.fpr[2 * physical], true);
    image.setBigUint64(Image.st + 16 * i + 8, state.fpr[2 * physical + 1] & 0xffffn, true);
  }
  for (let i = 0; i < 32; i++) image.setBigUint64(Image.xmm + 8 * i, state.xmm[i], true);
  if (!avx) return { image: bytes };
  const ymmHigh = new Uint8Array(256);
  const high = new DataView(ymmHigh.buffer);
  for (let i = 0; i < 32; i++) high.setBigUint64(8 * i, state.ymmHigh[i], true);
  return { image: bytes, ymmHigh };
}

/** `ProcessorConfig.tier`. */
export type Tier = 'interp' | 'jit';

export class TestMachine implements Engine {
  readonly #processor: Processor;
  readonly #data: Buffer;
  readonly #dataWords: Int32Array;
  readonly #code: Uint8Array;
  readonly #codeAddress: number;
  readonly #before = Buffer.alloc(Layout.bytes);
  readonly #beforeWords = new Int32Array(this.#before.buffer, this.#before.byteOffset, Layout.bytes / 4);
  /** The segments in force, as text. */
  #segments = '';

  constructor(tier: Tier, atomic: boolean) {
    const linear = linearMemory();
    const guest = new GuestMemory(linear);
    guest.createSlot({ gpa: 0, bytes: Ram.bytes });
    mapPages(guest);
    writeDescriptors(guest);
    const stateAddress = linear.alloc(MMU.size, MMU.align);
    const tlbAddress = linear.alloc(TLB_BYTES, 16);
    const mmu = createMmu({ memory: linear.memory, stateAddress, tlbAddress, guest });
    resetMmuState(mmu.state, PHYSICAL_BITS);
    const none = { read: () => 0, write: () => undefined };
    this.#processor = createProcessor({
      ...linear,
      mmu: { ...mmu, stateAddress, tlbAddress, offsets: MMU.offset, protectCode: (page) => void mmu.protectCode(page) },
      ...platformOf('oracle', PHYSICAL_BITS),
      pio: none,
      mmio: { ...none, write64: () => undefined },
      interrupts: {
        pending: () => false,
        acknowledge: () => -1,
        takeNmi: () => false,
        readTpr: () => 0,
        writeTpr: () => undefined,
      },
      codeBytes: 4 << 20,
      tier,
      heat: HEAT,
      // Nobody is there to be stopped.
      ...(atomic && { exclusive: { enter: () => undefined, leave: () => undefined, serve: () => undefined } }),
    });
    const { buffer } = linear.memory;
    const data = guest.hostAddress(Ram.data) as number;
    this.#data = Buffer.from(buffer, data, Layout.bytes);
    this.#dataWords = new Int32Array(buffer, data, Layout.bytes / 4);
    this.#codeAddress = guest.hostAddress(Ram.code) as number;
    this.#code = new Uint8Array(buffer, this.#codeAddress, Layout.bytes).fill(INT3);
    this.#enterLongMode();
  }

  #enterLongMode(): void {
    const c = this.#processor.context;
    const { state } = c;
    state.cr0 = BigInt(Cr0.PG + (Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM));
    state.cr4 = BigInt(Cr4.PAE | Cr4.PGE | Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.OSXSAVE);
    state.efer = BigInt(Efer.LME | Efer.LMA | Efer.NXE | Efer.SCE);
    state.idtrLimit = 0;
    state.xcr0 = 7n;
    state.cr3 = BigInt(Ram.pml4);
    state.cpl = 3;
    // Too short for an I/O bitmap: no port is allowed, as for a Linux process.
    state.gdtrBase = TABLES_ADDRESS;
    state.gdtrLimit = 0x7f;
    setSegment(c, Seg.LDTR, 0x50, TABLES_ADDRESS + BigInt(Ram.ldt - Ram.gdt), LDT_LIMIT, Attr.P | 2);
    setSegment(c, Seg.TR, 0x40, 0n, 0x65, Attr.P | 11);
    c.updateMmu();
    c.flushTlb();
  }

  /** Loads segments and with them the mode, unless they are as the last case left them. */
  #setSegments(one: OracleCase): void {
    const segments = one.segments;
    const key = segments ? `${segments.cs} ${segments.ss} ${segments.ds} ${segments.es}` : `${one.mode}`;
    if (key === this.#segments) return;
    this.#segments = key;
    const c = this.#processor.context;
    const flat = (seg: number): void => setSegment(c, seg, Selectors.data, 0n, 0xffff_ffff, USER_DATA | Attr.G | Attr.DB);
    const load = (seg: number, entry: number): void => {
      const d = DESCRIPTORS[entry];
      if (!d) {
        flat(seg);
        return;
      }
      const limit = d.pages ? ((d.limit << 12) | 0xfff) >>> 0 : d.limit;
      setSegment(c, seg, entry * 8 + 7, BigInt(d.base), limit, attributesOf(d));
    };
    for (const seg of [Seg.FS, Seg.GS]) setSegment(c, seg, 0, 0n, 0, 0);
    if (segments) {
      load(Seg.CS, segments.cs);
      load(Seg.SS, segments.ss);
      load(Seg.DS, segments.ds);
      load(Seg.ES, segments.es);
    } else {
      const wide = one.mode === 64;
      setSegment(
        c,
        Seg.CS,
        wide ? Selectors.code64 : Selectors.code32,
        0n,
        0xffff_ffff,
        USER_CODE | Attr.G | (wide ? Attr.L : Attr.DB),
      );
      for (const seg of [Seg.SS, Seg.DS, Seg.ES]) flat(seg);
      if (wide) c.state.segBase[Seg.GS] = BigInt(Layout.gsBase);
    }
    c.updateMode();
  }

  /** Regions compiled so far: that a run has tested the compiled tier at all. */
  get regions(): number {
    return this.#processor.stats().regions ?? 0;
  }

  run(image: Uint8Array, cases: readonly OracleCase[]): OracleResult[] {
    this.#before.set(image);
    this.#data.set(image);
    return cases.map((one) => this.#runOne(one, image));
  }

  #runOne(one: OracleCase, image: Uint8Array): OracleResult {
    const c = this.#processor.context;
    const { state } = c;
    for (const { offset, bytes } of one.patches) {
      this.#before.set(bytes, offset);
      this.#data.set(bytes, offset);
    }
    const text = one.branch ? one.bytes : Buffer.concat([one.bytes, tailOf(one)]);
    const length = Math.min(text.length, Layout.bytes - one.codeOffset);
    this.#code.set(length === text.length ? text : text.subarray(0, length), one.codeOffset);
    // All of it: the last case's instruction is gone too, and short lists of translations are quick to search.
    this.#processor.codeWritten(this.#codeAddress, Layout.bytes);

    this.#setSegments(one);
    state.gpr.set(one.gpr);
    const start = BigInt((one.segments ? 0 : Layout.code) + one.codeOffset);
    state.rip = start;
    const before = c.rflags;
    c.rflags = one.rflags | 0x202;
    // AC is part of the mode.
    if ((before ^ c.rflags) & Rflags.AC) c.updateMode();
    if (one.fp) loadFp(this.#processor, one.fp);
    let fault: OracleFault | undefined;
    let failure: string | undefined;
    try {
      fault = one.sequence ? this.#runSequence(one, start) : this.#step(one, start);
    } catch (error) {
      failure = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }

    const gpr = state.gpr.slice();
    const { rip } = state;
    const rflags = c.rflags;
    const selectors = one.selectors ? Array.from(state.segSel).slice(0, 6) : undefined;
    // The next case loads its own.
    if (one.selectors) this.#segments = '';
    const changes = this.#takeChanges(image);
    for (const { offset, bytes } of one.patches) {
      const original = image.subarray(offset, offset + bytes.length);
      this.#before.set(original, offset);
      this.#data.set(original, offset);
    }
    this.#code.fill(INT3, one.codeOffset, one.codeOffset + length);
    const result = {
      gpr,
      rip,
      rflags,
      fault,
      changes,
      ...(selectors && { selectors }),
      ...(failure !== undefined && { failure }),
    };
    return one.fp ? { ...result, fp: saveFp(this.#processor, one.fp.ymmHigh !== undefined) } : result;
  }

  /** One instruction, repeats and all. Fetching what comes after it may fault already: that is not its fault. */
  #step(one: OracleCase, start: bigint): OracleFault | undefined {
    const { state } = this.#processor.context;
    for (let n = 0; n < MOST_STEPS; n++) {
      const before = this.#processor.instructions;
      const { fault } = this.#processor.stepOne();
      if (fault) {
        const next = fault.vector === PAGE_FAULT && fault.error & FETCH && state.rip !== start;
        return next ? undefined : { vector: fault.vector, error: Math.max(fault.error, 0), cr2: fault.cr2 };
      }
      if (state.rip !== start) return undefined;
      // The engine may have used the step to tidy up, or a repeated instruction has given way. A branch may also go to itself.
      if (one.branch && this.#processor.instructions !== before) return undefined;
    }
    throw new Error('the instruction does not end');
  }

  /**
   * Many instructions as in normal operation. Going back to the harness ends it: there is no page at the stub, no descriptor for the far
   * jump of 32-bit code, and no IDT.
   */
  #runSequence(one: OracleCase, start: bigint): OracleFault | undefined {
    const { state } = this.#processor.context;
    const exit = this.#processor.run(SEQUENCE_BUDGET);
    if (exit.reason !== 'shutdown') throw new Error(`a sequence ended with ${exit.reason}`);
    const end = start + BigInt(one.bytes.length);
    if (state.rip === end || state.rip === BigInt(Stub.address)) {
      state.rip = end;
      return undefined;
    }
    const vector = state.faultVector > 255 ? GENERAL_PROTECTION : state.faultVector;
    return { vector, error: state.faultHasError ? state.faultError : 0, cr2: state.cr2 };
  }

  /** The aligned words that the case changed, set back to the image's. */
  #takeChanges(image: Uint8Array): Patch[] {
    const out: Patch[] = [];
    if (this.#data.equals(this.#before)) return out;
    const [now, before] = [this.#dataWords, this.#beforeWords];
    for (let i = 0; i < now.length; i += 2) {
      if (now[i] === before[i] && now[i + 1] === before[i + 1]) continue;
      const offset = 4 * i;
      out.push({ offset, bytes: Uint8Array.from(this.#data.subarray(offset, offset + 8)) });
      const original = image.subarray(offset, offset + 8);
      this.#data.set(original, offset);
      this.#before.set(original, offset);
    }
    return out;
  }
}

/** A machine of its own memory; cases may be run on it any number of times. `atomic`: as where other processors run at the same time. */
export const createTestMachine = (tier: Tier = 'interp', atomic = false): TestMachine => new TestMachine(tier, atomic);
