/** What system instructions work on: the processor's state by name, linear memory with faults, and the mode that follows from both. */
import { Vector } from '../core/memory.ts';
import { TLB_ENTRIES } from '../emit/emitter.ts';
import { decodeStatus, encodeStatus } from '../emit/flags.ts';
import { TLB_SET_BYTES } from '../emit/privilege.ts';
import { StackMode } from '../form.ts';
import type { Mmu } from '../ports.ts';
import { is64Bit, ModeKey } from '../records/mode-key.ts';
import { CPU, ExitRequest, JUMP_CACHE, Rflags, Seg, Watch } from '../state.ts';
import { Breakpoints } from './breakpoints.ts';

/** An architectural exception on its way to delivery. Thrown by helpers, never past the processor. Not an Error: a guest can make
 * millions, and a stack trace costs more than the fault. */
export class GuestFault {
  readonly vector: number;
  /** -1: the exception has no error code. */
  readonly error: number;
  constructor(vector: number, error = -1) {
    this.vector = vector;
    this.error = error;
  }
}

export const fault = (vector: number, error = -1): never => {
  throw new GuestFault(vector, error);
};
export const generalProtection = (error = 0): never => fault(Vector.GP, error);

export const Cr0 = {
  PE: 1,
  MP: 2,
  EM: 4,
  TS: 8,
  ET: 16,
  NE: 32,
  WP: 1 << 16,
  AM: 1 << 18,
  NW: 1 << 29,
  CD: 1 << 30,
  PG: 0x8000_0000,
} as const;
export const Cr4 = {
  VME: 1,
  PVI: 2,
  TSD: 4,
  DE: 8,
  PSE: 16,
  PAE: 32,
  MCE: 64,
  PGE: 128,
  PCE: 256,
  OSFXSR: 512,
  OSXMMEXCPT: 1024,
  UMIP: 2048,
  LA57: 4096,
  FSGSBASE: 1 << 16,
  PCIDE: 1 << 17,
  OSXSAVE: 1 << 18,
  SMEP: 1 << 20,
  SMAP: 1 << 21,
  PKE: 1 << 22,
} as const;
/** Components of the extended state that are enabled (SDM vol. 1 §13.3). */
export const Xcr0 = { X87: 1, SSE: 2, AVX: 4, AVX_STATE: 6, PKRU: 512 } as const;
export const Efer = { SCE: 1, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11 } as const;

/** Access-right bits as `CPU.segAttr` holds them: descriptor bits 40–55. */
export const Attr = { TYPE: 15, S: 16, DPL_SHIFT: 5, P: 128, AVL: 1 << 12, L: 1 << 13, DB: 1 << 14, G: 1 << 15 } as const;

const MmuFlag = { WP: 1, SMEP: 2, SMAP: 4, NXE: 8, PSE: 16, PSE36: 32, PGE: 64, PKE: 128, PAGE1GB: 256 } as const;
/** A jump-cache tag: generation above, number of the mode key below, and of that FLAT_FS and FLAT_GS as they are (core/segments.ts). */
const KEY_BITS = 12;
const KEY_MASK = (1 << KEY_BITS) - 1;
const VARIANT_BITS = 2;
const VARIANT = ModeKey.FLAT_FS | ModeKey.FLAT_GS;
const GENERATIONS = 1 << (32 - KEY_BITS);

/** What mode keys of protected mode with flat segments have in common: 32-bit code and stack, no limits. */
const FLAT_32 = {
  bits: ModeKey.SIZE | ModeKey.FLAT | ModeKey.PROTECTED | ModeKey.VIRTUAL_8086 | (3 << ModeKey.STACK_SHIFT),
  value: 1 | ModeKey.FLAT | ModeKey.PROTECTED | (StackMode.Flat32 << ModeKey.STACK_SHIFT),
} as const;

const TLB_ARRAY = TLB_ENTRIES * 16;
const ACCESS_USER = 4;
const ACCESS_SMAP = 8;

type U64Field = { [K in keyof typeof CPU.schema]: (typeof CPU.schema)[K] extends 'u64' ? K : never }[keyof typeof CPU.schema];
type U32Field = {
  [K in keyof typeof CPU.schema]: (typeof CPU.schema)[K] extends 'u32' | 'i32' ? K : never;
}[keyof typeof CPU.schema];

export class SystemContext {
  readonly state: ReturnType<typeof CPU.view>;
  readonly address: number;
  readonly mmu: Mmu;
  readonly #u8: Uint8Array;
  readonly #i32: Int32Array;
  readonly #translate: (va: bigint, access: number) => number;
  readonly #data: DataView;
  readonly #jumpCache: number;
  /** A TLB array without translations, for times when every data access has to be looked at. */
  emptyTlb = 0;
  /** Bits of CR4 and EFER that the processor model lets software set, and its physical-address width. */
  cr4Bits = 0;
  /** Bits of XCR0, and whether XGETBV tells what is in use, likewise. */
  xcr0Bits = 0;
  xinuse = false;
  /** XSAVES and IA32_XSS exist. */
  xsaves = false;
  /** CPUID's family, model and stepping. */
  signature = 0;
  /** System calls as Intel's processors have them; otherwise as AMD's. */
  intel = false;
  eferBits = 0;
  physicalBits = 40;
  /** POPF or IRET cleared TF, and is itself still to be trapped. */
  stepEnds = false;
  readonly breakpoints: Breakpoints = new Breakpoints(this);
  readonly #keys = new Map<number, number>();
  readonly #limits = new Map<number, number>();

  constructor(
    memory: WebAssembly.Memory,
    address: number,
    jumpCache: number,
    mmu: Mmu,
    translate: (va: bigint, access: number) => number,
  ) {
    this.address = address;
    this.state = CPU.view(memory.buffer, address);
    this.#u8 = new Uint8Array(memory.buffer);
    this.#i32 = new Int32Array(memory.buffer);
    this.#data = new DataView(memory.buffer);
    this.#jumpCache = jumpCache;
    this.mmu = mmu;
    this.#translate = translate;
  }

  lo(field: U64Field): number {
    return this.#i32[(this.address + CPU.offset[field]) >> 2];
  }
  hi(field: U64Field): number {
    return this.#i32[(this.address + CPU.offset[field] + 4) >> 2];
  }
  setHalves(field: U64Field, lo: number, hi: number): void {
    const at = (this.address + CPU.offset[field]) >> 2;
    this.#i32[at] = lo;
    this.#i32[at + 1] = hi;
  }
  u32(field: U32Field): number {
    return this.#i32[(this.address + CPU.offset[field]) >> 2];
  }

  // --- RFLAGS ----------------------------------------------------------------------------------------------------------------

  get rflags(): number {
    const status = decodeStatus(
      this.lo('flagResult'),
      this.hi('flagResult'),
      this.lo('flagCarry'),
      this.hi('flagCarry'),
      this.lo('flagAux'),
    );
    return (this.u32('rflags') | status | Rflags.FIXED) >>> 0;
  }
  set rflags(value: number) {
    const s = encodeStatus(value);
    this.setHalves('flagResult', s.resultLo, s.resultHi);
    this.setHalves('flagCarry', s.carryLo, s.carryHi);
    this.setHalves('flagAux', s.auxLo, s.resultHi);
    const status = Rflags.CF | Rflags.PF | Rflags.AF | Rflags.ZF | Rflags.SF | Rflags.OF | Rflags.FIXED;
    this.state.rflags = value & ~status;
    // Whoever sets IF makes a waiting interrupt known to the next block boundary.
    if (value & Rflags.IF) this.announceWaiting();
  }

  /** IF has been set: an interrupt that waited for it is for the next block boundary. */
  announceWaiting(): void {
    if (this.state.interruptPending) this.state.exitRequest = ExitRequest.LOOK;
  }

  // --- linear memory -----------------------------------------------------------------------------------------------------------

  get longMode(): boolean {
    return (this.lo('efer') & Efer.LMA) !== 0;
  }
  get protectedMode(): boolean {
    return (this.lo('cr0') & Cr0.PE) !== 0;
  }
  get virtual8086(): boolean {
    return (this.state.rflags & Rflags.VM) !== 0;
  }

  /** Access bits of a supervisor access that the processor makes itself (descriptor tables, TSS, stacks of a new privilege). */
  #system(): number {
    return this.lo('cr4') & Cr4.SMAP ? ACCESS_SMAP : 0;
  }

  /** Runs `body` with memory accesses made as by the processor itself, whatever the CPL. */
  asSystem<T>(body: () => T): T {
    const saved = this.state.mmuAccess;
    this.state.mmuAccess = this.#system();
    this.#systemAccesses++;
    try {
      return body();
    } finally {
      this.#systemAccesses--;
      this.state.mmuAccess = saved;
    }
  }
  #systemAccesses = 0;

  /** What the slow path of generated code does where data accesses are looked at one by one (`CPU.watch`). */
  #look(va: bigint, size: number, write: boolean): void {
    const { watch } = this.state;
    if (watch & Watch.Alignment && va & BigInt(size - 1)) fault(Vector.AC, 0);
    if (watch & Watch.Breakpoints) this.breakpoints.note(va, size, write ? 'write' : 'read');
  }

  /** Host address of a byte; throws the page fault. 0: not plain memory. */
  #host(va: bigint, write: boolean): number {
    const host = this.#translate(va, write ? 1 : 0);
    if (host !== -1) return host >>> 0;
    this.state.faulted = 0;
    const vector = this.state.faultVector;
    if (vector > 255) generalProtection();
    return fault(vector, this.state.faultHasError ? this.state.faultError : -1);
  }

  /** Reads 1, 2, 4 or 8 bytes at a linear address, as the current `mmuAccess` may. Devices read as all ones here. */
  read(va: bigint, size: number): bigint {
    if (this.state.watch && this.#systemAccesses === 0) this.#look(va, size, false);
    const inPage = Number(va & 0xfffn) + size <= 4096;
    if (inPage) {
      const host = this.#host(va, false);
      if (host === 0) return (1n << BigInt(8 * size)) - 1n;
      if (size === 8) return this.#data.getBigUint64(host, true);
      return BigInt(
        size === 4 ? this.#data.getUint32(host, true) : size === 2 ? this.#data.getUint16(host, true) : this.#u8[host],
      );
    }
    // Both pages first, in order: a fault names the first byte that cannot be read.
    this.#host(va, false);
    this.#host(this.wrap(va + BigInt(4096 - Number(va & 0xfffn))), false);
    let value = 0n;
    for (let n = size - 1; n >= 0; n--) value = (value << 8n) | this.read(this.wrap(va + BigInt(n)), 1);
    return value;
  }

  /** Writes; both pages of a crossing write are checked before a byte changes. `write` runs where the bytes are not plain memory. */
  write(va: bigint, size: number, value: bigint): void {
    if (this.state.watch && this.#systemAccesses === 0) this.#look(va, size, true);
    const inPage = Number(va & 0xfffn) + size <= 4096;
    if (!inPage) {
      this.#host(va, true);
      this.#host(this.wrap(va + BigInt(4096 - Number(va & 0xfffn))), true);
      for (let n = 0; n < size; n++) this.write(this.wrap(va + BigInt(n)), 1, (value >> BigInt(8 * n)) & 0xffn);
      return;
    }
    const host = this.#host(va, true);
    if (host === 0) {
      this.#storeSlow(va, value, size);
      return;
    }
    if (size === 8) this.#data.setBigUint64(host, value, true);
    else if (size === 4) this.#data.setUint32(host, Number(value & 0xffff_ffffn), true);
    else if (size === 2) this.#data.setUint16(host, Number(value & 0xffffn), true);
    else this.#u8[host] = Number(value & 0xffn);
  }

  /** The five quadwords at RSP: RIP, CS, RFLAGS, RSP, SS in halves. */
  readonly frame = new Int32Array(10);

  /** Reads `frame`; false where 64-bit mode, one page and plain memory are not all given. */
  interruptFrame(): boolean {
    const { state } = this;
    if (!is64Bit(state.modeKey)) return false;
    const rsp = state.gpr[4];
    if ((Number(rsp & 0xfffn) & 7) !== 0 || Number(rsp & 0xfffn) > 4096 - 40) return false;
    const host = this.#host(rsp, false);
    if (host === 0) return false;
    const at = host >> 2;
    for (let n = 0; n < 10; n++) this.frame[n] = this.#i32[at + n];
    return true;
  }

  /** An upper half as canonical addresses have with 48 bits; with CR4.LA57 some canonical ones are refused too. */
  canonicalHalf(hi: number): boolean {
    return hi >> 15 === 0 || hi >> 15 === -1;
  }

  setStackPointer(lo: number, hi: number): void {
    const at = (this.address + CPU.offset.gpr + 8 * 4) >> 2;
    this.#i32[at] = lo;
    this.#i32[at + 1] = hi;
  }

  /** What `readEntry` read. */
  readonly entry = new Int32Array(2);

  /** Reads the eight bytes of a table entry as the processor itself does, whatever the CPL. Throws the fault. */
  readEntry(va: bigint): void {
    const { state, entry } = this;
    const saved = state.mmuAccess;
    state.mmuAccess = this.#system();
    this.#systemAccesses++;
    try {
      const host = Number(va & 0xfffn) <= 4096 - 8 ? this.#host(va, false) : 0;
      if (host !== 0) {
        entry[0] = this.#data.getInt32(host, true);
        entry[1] = this.#data.getInt32(host + 4, true);
        return;
      }
      const raw = this.read(va, 8);
      entry[0] = Number(raw & 0xffff_ffffn);
      entry[1] = Number(raw >> 32n);
    } finally {
      this.#systemAccesses--;
      state.mmuAccess = saved;
    }
  }

  /** Whether the GDT's descriptor of the selector in a segment register, with base 0, still says what the register holds. */
  isLoaded(seg: number): boolean {
    const { state } = this;
    const selector = state.segSel[seg];
    if (selector & 4 || (selector | 7) > state.gdtrLimit) return false;
    const saved = state.mmuAccess;
    state.mmuAccess = this.#system();
    const host = this.#translate(state.gdtrBase + BigInt(selector & 0xfff8), 0);
    state.mmuAccess = saved;
    state.faulted = 0;
    if (host === 0 || host === -1 || (host & 0xfff) > 4096 - 8) return false;
    const hi = this.#i32[((host >>> 0) + 4) >> 2];
    const lo = this.#i32[(host >>> 0) >> 2];
    const attr = (hi >>> 8) & 0xf0ff;
    const raw = (lo & 0xffff) | (hi & 0xf_0000);
    const limit = attr & Attr.G ? ((raw << 12) | 0xfff) >>> 0 : raw;
    const base = ((lo >>> 16) | ((hi & 0xff) << 16) | (hi & 0xff00_0000)) >>> 0;
    return attr === state.segAttr[seg] && limit === state.segLimit[seg] && base === 0 && this.#baseless(seg);
  }

  #baseless(seg: number): boolean {
    const at = (this.address + CPU.offset.segBase + 8 * seg) >> 2;
    return (this.#i32[at] | this.#i32[at + 1]) === 0;
  }

  #storeSlow: (va: bigint, value: bigint, size: number) => void = () => undefined;
  /** The engine's own slow store, for pages with translated code and devices. */
  onIrregularStore(store: (va: bigint, value: bigint, size: number) => void): void {
    this.#storeSlow = store;
  }

  /** A linear address, cut to 32 bits outside 64-bit mode. */
  wrap(va: bigint): bigint {
    return this.state.modeKey & 2 ? BigInt.asUintN(64, va) : va & 0xffff_ffffn;
  }

  canonical(va: bigint): boolean {
    const bits = this.lo('cr4') & Cr4.LA57 ? 57 : 48;
    return BigInt.asUintN(64, BigInt.asIntN(bits, va)) === BigInt.asUintN(64, va);
  }

  // --- mode --------------------------------------------------------------------------------------------------------------------

  /** CS base that the jump cache's entries were made under: they are tagged with RIP, so another base retires them. */
  #jumpBase = 0n;

  /** Retires the jump cache: mappings changed. A change of mode is in the tag. */
  flushJumps(): void {
    const { state } = this;
    let user = (state.userTag >>> KEY_BITS) + 1;
    let kernel = (state.kernelTag >>> KEY_BITS) + 1;
    if (user >= GENERATIONS || kernel >= GENERATIONS) {
      user = kernel = 1; // 0 with key number 0 is what cleared entries hold
      this.#u8.fill(0, this.#jumpCache, this.#jumpCache + JUMP_CACHE.entries * JUMP_CACHE.entryBytes);
    }
    state.codeFilter.fill(0n);
    state.kernelLocal = 0;
    state.userTag = ((user << KEY_BITS) | (state.userTag & KEY_MASK)) >>> 0;
    state.kernelTag = ((kernel << KEY_BITS) | (state.kernelTag & KEY_MASK)) >>> 0;
    this.#tag();
  }

  #tag(): void {
    const { state } = this;
    const generation = (state.modeKey & ModeKey.USER ? state.userTag : state.kernelTag) & ~KEY_MASK;
    state.jumpTag = (generation | this.#keyNumber(state.modeKey)) >>> 0;
  }

  #keyNumber(key: number): number {
    let number = this.#keys.get(key & ~VARIANT);
    if (number === undefined) {
      number = this.#keys.size & (KEY_MASK >> VARIANT_BITS);
      this.#keys.set(key & ~VARIANT, number);
    }
    return (number << VARIANT_BITS) | ((key & VARIANT) >> ModeKey.VARIANT_SHIFT);
  }

  /** Whether generated code may do by itself what it can: tests have it done here. */
  shortcuts = true;

  /** Makes the two modes that system calls, events and returns switch between ready for generated code. */
  #prepareCalls(key: number): void {
    const { state } = this;
    const ring = (key & (ModeKey.USER | ModeKey.CPL0)) !== 0;
    const possible = this.shortcuts && ring && !(key & (ModeKey.STEP | ModeKey.ALIGNED)) && !(this.lo('cr4') & Cr4.SMAP);
    const long = possible && (key & ModeKey.SIZE) === 2;
    const flat32 = possible && (key & FLAT_32.bits) === FLAT_32.value && !this.longMode;
    state.fastEvents = long ? 1 : 0;
    state.fastCalls = long && this.lo('efer') & Efer.SCE ? 1 : 0;
    state.fastFlat32 = flat32 ? 1 : 0;
    const userKey = (key & ~ModeKey.CPL0) | ModeKey.USER;
    if (!(long || flat32) || userKey === state.userKey) return;
    state.userKey = userKey;
    state.kernelKey = (key & ~ModeKey.USER) | ModeKey.CPL0;
    state.userTag = ((state.userTag & ~KEY_MASK) | this.#keyNumber(state.userKey)) >>> 0;
    state.kernelTag = ((state.kernelTag & ~KEY_MASK) | this.#keyNumber(state.kernelKey)) >>> 0;
  }

  segAttr(seg: number): number {
    return this.state.segAttr[seg];
  }

  #flat(seg: number, writable: boolean): boolean {
    const attr = this.state.segAttr[seg];
    const usable = (attr & Attr.P) !== 0 && (!writable || (attr & 0xa) === 2);
    return usable && this.#baseless(seg) && this.state.segLimit[seg] === 0xffff_ffff && this.state.segLow[seg] === 0;
  }
  #unlimited(seg: number): boolean {
    const attr = this.state.segAttr[seg];
    return (
      (attr & Attr.P) !== 0 && (attr & 0xa) === 2 && this.state.segLimit[seg] === 0xffff_ffff && this.state.segLow[seg] === 0
    );
  }

  /** Recomputes everything that follows from control registers, CPL, segments and flags. Call after changing any of them. */
  updateMode(): void {
    const { state } = this;
    const cs = state.segAttr[Seg.CS];
    const cr0 = this.lo('cr0');
    const cr4 = this.lo('cr4');
    const mode64 = this.longMode && (cs & Attr.L) !== 0;
    const virtual = this.virtual8086;
    let key: number = mode64 ? 2 : cs & Attr.DB && !virtual ? 1 : 0;
    if (state.cpl === 3) key |= ModeKey.USER;
    if (state.cpl === 0) key |= ModeKey.CPL0;
    if (mode64) key |= ModeKey.FLAT | ModeKey.FLAT_FS | ModeKey.FLAT_GS;
    else {
      const flat = this.#flat(Seg.ES, true) && this.#flat(Seg.SS, true) && this.#flat(Seg.DS, true);
      if (flat && state.segBase[Seg.CS] === 0n && state.segLimit[Seg.CS] === 0xffff_ffff && (cs & 0xa) === 0xa)
        key |= ModeKey.FLAT;
      if (this.#unlimited(Seg.FS)) key |= ModeKey.FLAT_FS;
      if (this.#unlimited(Seg.GS)) key |= ModeKey.FLAT_GS;
      if (state.segLimit[Seg.CS] !== 0xffff_ffff) key |= this.#limitNumber(state.segLimit[Seg.CS]) << ModeKey.LIMIT_SHIFT;
    }
    const wide = (state.segAttr[Seg.SS] & Attr.DB) !== 0 && !virtual;
    const stack = mode64 ? StackMode.Long : wide && key & ModeKey.FLAT ? StackMode.Flat32 : StackMode.Segmented;
    key |= stack << ModeKey.STACK_SHIFT;
    state.stackMask = mode64 ? 0xffff_ffff_ffff_ffffn : wide ? 0xffff_ffffn : 0xffffn;
    if (cr0 & Cr0.TS) key |= ModeKey.NO_FPU;
    if (cr0 & (Cr0.EM | Cr0.TS)) key |= ModeKey.FPU_EMULATED;
    if (cr0 & Cr0.EM || !(cr4 & Cr4.OSFXSR)) key |= ModeKey.NO_SSE;
    if (!(cr4 & Cr4.OSXSAVE)) key |= ModeKey.NO_XSAVE;
    if (!(cr4 & Cr4.OSXSAVE) || (this.lo('xcr0') & Xcr0.AVX_STATE) !== Xcr0.AVX_STATE) key |= ModeKey.NO_AVX;
    if (state.cpl === 3 && cr0 & Cr0.AM && state.rflags & Rflags.AC) key |= ModeKey.ALIGNED;
    this.#setWatch(key);
    if (this.stepping) {
      key |= ModeKey.STEP;
      // The run loop looks at each instruction, so it must have control from the next one on.
      state.exitRequest = ExitRequest.LOOK;
    }
    if (virtual) key |= ModeKey.VIRTUAL_8086;
    if (cr4 & Cr4.UMIP) key |= ModeKey.UMIP;
    if (cr0 & Cr0.PE) key |= ModeKey.PROTECTED;
    state.modeKey = key;
    this.#prepareCalls(key);
    const base = mode64 ? 0n : state.segBase[Seg.CS];
    if (base === this.#jumpBase) this.#tag();
    else {
      this.#jumpBase = base;
      this.flushJumps();
    }
    this.#selectTlb();
  }

  /** Every instruction is run alone, for TF or for breakpoints. */
  get stepping(): boolean {
    return (this.state.rflags & Rflags.TF) !== 0 || this.breakpoints.armed;
  }

  #setWatch(key: number): void {
    this.state.watch = (key & ModeKey.ALIGNED ? Watch.Alignment : 0) | (this.breakpoints.onData ? Watch.Breakpoints : 0);
  }

  /** Runs the next instruction alone (interrupt shadow), or ends that. */
  setStep(on: boolean): void {
    this.state.modeKey = on || this.stepping ? this.state.modeKey | ModeKey.STEP : this.state.modeKey & ~ModeKey.STEP;
    this.#setWatch(this.state.modeKey);
    this.#tag();
  }

  /** Distinct code-segment limits get numbers: a translation has its limit checked once. */
  #limitNumber(limit: number): number {
    let number = this.#limits.get(limit);
    if (number === undefined) {
      number = this.#limits.size + 1;
      this.#limits.set(limit, number);
    }
    return number & ModeKey.LIMIT_MASK;
  }

  /** The TLB set of the present privilege: supervisor, user, or supervisor with SMAP in force. */
  #selectTlb(): void {
    const { state } = this;
    const user = state.cpl === 3;
    const smap = !user && (this.lo('cr4') & Cr4.SMAP) !== 0 && !(state.rflags & Rflags.AC);
    const set = this.mmu.tlbAddress + (user ? 1 : smap ? 2 : 0) * TLB_SET_BYTES;
    state.tlbRead = state.watch ? this.emptyTlb : set;
    state.tlbWrite = state.watch ? this.emptyTlb : set + TLB_ARRAY;
    state.tlbFetch = set + 2 * TLB_ARRAY;
    state.mmuAccess = user ? ACCESS_USER : smap ? ACCESS_SMAP : 0;
  }

  /** Hands the control registers to the MMU; the caller flushes what must be flushed. */
  updateMmu(): void {
    const { mmu } = this;
    const at = (offset: number): number => (mmu.stateAddress + offset) >> 2;
    const cr0 = this.lo('cr0');
    const cr4 = this.lo('cr4');
    const efer = this.lo('efer');
    const paging = (cr0 & Cr0.PG) !== 0;
    const mode = !paging ? 0 : efer & Efer.LMA ? (cr4 & Cr4.LA57 ? 4 : 3) : cr4 & Cr4.PAE ? 2 : 1;
    this.#i32[at(mmu.offsets.mode)] = mode;
    this.#i32[at(mmu.offsets.cr3)] = this.lo('cr3');
    this.#i32[at(mmu.offsets.cr3) + 1] = this.hi('cr3');
    let flags: number = MmuFlag.PSE36 | MmuFlag.PAGE1GB;
    if (cr0 & Cr0.WP) flags |= MmuFlag.WP;
    if (cr4 & Cr4.SMEP) flags |= MmuFlag.SMEP;
    if (cr4 & Cr4.SMAP) flags |= MmuFlag.SMAP;
    if (efer & Efer.NXE) flags |= MmuFlag.NXE;
    if (cr4 & Cr4.PSE) flags |= MmuFlag.PSE;
    if (cr4 & Cr4.PGE) flags |= MmuFlag.PGE;
    if (cr4 & Cr4.PKE) flags |= MmuFlag.PKE;
    this.#i32[at(mmu.offsets.flags)] = flags;
  }

  /** Hands PKRU to the MMU, whose translations of user pages follow from it. */
  updatePkru(): void {
    const { mmu, state } = this;
    const at = (mmu.stateAddress + mmu.offsets.pkru) >> 2;
    if (this.#i32[at] === (state.pkru | 0)) return;
    this.#i32[at] = state.pkru;
    if (this.lo('cr4') & Cr4.PKE) mmu.flushAll();
  }

  /** Everything cached about mappings is void. */
  flushTlb(): void {
    this.mmu.flushAll();
    this.flushJumps();
  }
}
