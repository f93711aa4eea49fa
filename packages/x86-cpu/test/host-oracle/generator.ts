/** Random cases: an encoding, and a state in which it does something. */

import { decode } from '../../src/decode/decoder.ts';
import { encodingsOf } from '../../src/decode/encodings.ts';
import { BASE_RIP, DecodeStatus, Insn, OperandKind, SegmentNumber } from '../../src/decode/instruction.ts';
import type { OpcodeRow } from '../../src/decode/opcodes.ts';
import type { FpState, OracleCase, Patch, Segments } from './case.ts';
import { DESCRIPTORS, Layout, NARROW_STACK_HIGH, SETTABLE_FLAGS, STATUS_FLAGS } from './case.ts';
import { vendorsDiffer } from './excluded.ts';
import { randomFarOffset, randomSelector, SELECTING } from './far.ts';
import { addressMask, displacementIndex, inverse } from './operand-bytes.ts';
import { Random } from './random.ts';

const RSP = 4;
const BRANCHES = new Set(['jcc', 'jmp', 'call', 'jmpi', 'calli', 'ret', 'far', 'iret']);
const NO_ACCESS = new Set(['lea', 'nop']);
const DATA = BigInt(Layout.data);
const CODE = BigInt(Layout.code);
const PAGE = 0x1000;

export type GeneratorOptions = {
  /** State for instructions that use x87, MMX or vectors; without it they run on whatever is there, and nothing of it is compared. */
  readonly fp?: (random: Random, insn: Insn) => FpState;
};

/** ES, CS, SS, DS, FS, GS. */
const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const PREFIXES_64 = [0x65, 0x65, 0x65, 0x26, 0x2e, 0x36, 0x3e];

/** Makes cases from encodings. The same seed makes the same cases. */
export class CaseGenerator {
  readonly random: Random;
  readonly #options: GeneratorOptions;
  readonly #insn = new Insn();
  #bytes: Uint8Array = new Uint8Array();
  #gpr = new BigUint64Array(16);
  #codeOffset = 0;
  #patches: Patch[] = [];
  #segments: Segments | undefined;

  constructor(seed: number, options: GeneratorOptions = {}) {
    this.random = new Random(seed);
    this.#options = options;
  }

  /** An image of the data area: what cases find in memory unless they say otherwise. */
  image(): Uint8Array {
    return this.random.bytes(Layout.bytes);
  }

  /** One case of every encoding that `row` has in `mode`. */
  *casesOf(row: OpcodeRow, mode: 16 | 32 | 64, segmented = mode === 16): Generator<OracleCase> {
    for (const bytes of encodingsOf(row, mode, this.random.u32)) {
      const one = this.caseOf(this.#maybePrefixed(bytes, mode), mode, segmented ? this.#segmentsFor(mode) : undefined);
      if (one) yield one;
    }
  }

  /** A case of one instruction; undefined where processors are known to differ. `bytes` may be changed (its displacement is). */
  caseOf(bytes: Uint8Array, mode: 16 | 32 | 64, segments?: Segments): OracleCase | undefined {
    const insn = this.#insn;
    if (decode(bytes, 0, bytes.length, mode, insn) !== DecodeStatus.Ok) return undefined;
    const branch = BRANCHES.has(insn.row.flow);
    if (vendorsDiffer(insn)) return undefined;
    const { random } = this;
    this.#bytes = bytes;
    this.#segments = segments;
    this.#patches = [];
    this.#gpr = new BigUint64Array(16);
    for (let i = 0; i < 16; i++) this.#gpr[i] = random.value();
    this.#codeOffset = this.#placeCode(bytes.length);
    if (segments && insn.row.sem.startsWith('loop') && this.#leavesSegment()) return undefined;
    this.#gpr[RSP] = this.#offsetIn(SegmentNumber.SS, this.#address(random.pick([2, 4, 8, 16, 32, 64]), 8));
    this.#prepareOperands();
    this.#prepareSemantics();
    if (mode !== 64) for (let i = 0; i < 16; i++) this.#gpr[i] &= 0xffff_ffffn;
    if (segments && DESCRIPTORS[segments.ss]?.wide === false) {
      this.#gpr[RSP] = (this.#gpr[RSP] & 0xffffn) | BigInt(NARROW_STACK_HIGH);
    }
    const string = insn.row.rep !== 'no';
    let rflags =
      random.u32() & (STATUS_FLAGS | (random.chance(string ? 40 : 10) ? 0x400 : 0) | (random.chance(5) ? SETTABLE_FLAGS : 0));
    if (insn.row.sem === 'loope' || insn.row.sem === 'loopne') rflags = random.u32() & STATUS_FLAGS;
    const fp = this.#options.fp?.(random, insn);
    const one = { mode, bytes, codeOffset: this.#codeOffset, gpr: this.#gpr, rflags, patches: this.#patches, branch };
    const selectors = SELECTING.has(insn.row.sem);
    return { ...one, ...(fp && { fp }), ...(segments && { segments }), ...(selectors && { selectors }) };
  }

  /** Now and then with a segment prefix, where there is a memory operand. FS stays away from 64-bit mode: the host needs it. */
  #maybePrefixed(bytes: Uint8Array, mode: 16 | 32 | 64): Uint8Array {
    const { random } = this;
    if (!random.chance(8) || bytes.length > 13) return bytes;
    const insn = this.#insn;
    if (decode(bytes, 0, bytes.length, mode, insn) !== DecodeStatus.Ok) return bytes;
    if (!insn.kind.some((kind, n) => n < insn.operandCount && (kind === OperandKind.Mem || kind === OperandKind.Moffs)))
      return bytes;
    return Uint8Array.of(random.pick(mode === 64 ? PREFIXES_64 : PREFIXES), ...bytes);
  }

  /** Code of the mode's size; data and stack of any kind; ES as often flat as not. */
  #segmentsFor(mode: 16 | 32 | 64): Segments {
    const { random } = this;
    return {
      cs: mode === 16 ? 1 : 2,
      ss: random.pick([3, 3, 4, 5, 6, 8, 9]),
      ds: random.pick([3, 3, 4, 5, 6, 7, 8, 9]),
      es: random.pick([3, 3, 4, 5, 6, 7, 8, 9]),
    };
  }

  #descriptorOf(seg: number) {
    const { cs, ss, ds, es } = this.#segments ?? { cs: 0, ss: 0, ds: 0, es: 0 };
    return DESCRIPTORS[[es, cs, ss, ds, 0, 0][seg]];
  }
  #baseOf(seg: number): bigint {
    if (this.#insn.mode === 64) return seg === SegmentNumber.GS ? BigInt(Layout.gsBase) : 0n;
    return BigInt(this.#descriptorOf(seg)?.base ?? 0);
  }
  /** A linear address as an offset in a segment. */
  #offsetIn(seg: number, address: bigint): bigint {
    return BigInt.asUintN(64, address - this.#baseOf(seg));
  }

  /**
   * A LOOP that leaves the code segment: it raises #GP, but the engine has counted already when it finds out. A known difference, not
   * worth a check in every LOOP.
   */
  #leavesSegment(): boolean {
    const { length, rel, opSize } = this.#insn;
    const target = this.#codeOffset + length + rel;
    return (opSize === 2 ? target & 0xffff : target >>> 0) >= Layout.bytes;
  }

  /** Anywhere; across the page boundary; or, seldom, running into the page that is not mapped. */
  #placeCode(length: number): number {
    const { random } = this;
    const roll = random.below(100);
    if (roll < 8) return PAGE - 1 - random.below(length);
    // UD0 and UD1 need not have all their bytes fetched before they fault.
    if (roll < 10 && length > 1 && this.#insn.row.flow !== 'ud') return Layout.bytes - 1 - random.below(length - 1);
    return 16 + random.below(Layout.bytes - 64);
  }

  /** Where an access of `size` bytes goes: mostly inside, often at an edge, sometimes outside. */
  #address(size: number, alignment = 1): bigint {
    const { random } = this;
    const roll = random.below(100);
    let offset: number;
    if (roll < 70) offset = random.below(Layout.bytes - size);
    else if (roll < 80) offset = PAGE - size + random.below(2 * size);
    else if (roll < 90) offset = Layout.bytes - size;
    else if (roll < 94) offset = Layout.bytes - 1 - random.below(size);
    else if (roll < 96) offset = -1 - random.below(2 * size);
    else if (roll < 97) return random.value();
    else if (this.#segments && roll < 99) offset = (random.chance(50) ? 0x1800 : 0x800) - random.below(size + 1);
    else if (roll < 98) return BigInt.asUintN(64, CODE + BigInt(random.below(Layout.bytes)));
    else offset = random.below(2) * PAGE;
    if (alignment > 1 && random.chance(80)) offset &= -alignment;
    return BigInt.asUintN(64, DATA + BigInt(offset));
  }

  /** Puts bytes into the data area where it is mapped, unless another patch is there. */
  #patch(address: bigint, bytes: Uint8Array): void {
    const start = Number(BigInt.asIntN(64, address - DATA));
    const from = Math.max(start, 0);
    const to = Math.min(start + bytes.length, Layout.bytes);
    if (to <= from || this.#patches.some((p) => p.offset < to && p.offset + p.bytes.length > from)) return;
    this.#patches.push({ offset: from, bytes: bytes.slice(from - start, to - start) });
  }

  #patchValue(address: bigint, size: number, value: bigint): void {
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) bytes[i] = Number((value >> BigInt(8 * i)) & 0xffn);
    this.#patch(address, bytes);
  }

  /** Sets the low `size` bytes of a register. */
  #setLow(reg: number, size: number, value: bigint): void {
    const mask = addressMask(size);
    this.#gpr[reg] = (this.#gpr[reg] & ~mask) | (value & mask);
  }

  #prepareOperands(): void {
    const insn = this.#insn;
    const { random } = this;
    for (let n = 0; n < insn.operandCount; n++) {
      if (insn.kind[n] !== OperandKind.Mem && insn.kind[n] !== OperandKind.Moffs) continue;
      if (NO_ACCESS.has(insn.row.sem)) continue;
      const size = insn.size[n] || (insn.row.sem.startsWith('fx') ? 512 : 16);
      const address = this.#address(size, size === 32 ? 32 : size >= 16 ? 16 : 1);
      if (insn.kind[n] === OperandKind.Moffs) this.#aimMoffs(this.#offsetIn(insn.seg, address));
      else if (insn.modrm < 0 || insn.row.rep !== 'no') this.#aimImplicit(n, address);
      else if (!this.#aim(address)) continue;
      if (size <= 8 && random.chance(50)) this.#patchValue(address, size, random.value());
    }
  }

  #aimMoffs(address: bigint): void {
    const insn = this.#insn;
    const at = this.#bytes.length - insn.addrSize;
    for (let i = 0; i < insn.addrSize; i++) this.#bytes[at + i] = Number((address >> BigInt(8 * i)) & 0xffn);
  }

  /** String operands, XLAT and MASKMOV: the register says where. */
  #aimImplicit(n: number, address: bigint): void {
    const insn = this.#insn;
    if (insn.row.sem === 'xlat') this.#setLow(3, insn.addrSize, this.#offsetIn(insn.seg, address) - (this.#gpr[0] & 0xffn));
    else this.#setLow(insn.reg[n], insn.addrSize, this.#offsetIn(insn.reg[n] === 6 ? insn.seg : SegmentNumber.ES, address));
  }

  /** Sets base, index or displacement so that the ModRM operand is at `address`; false when it cannot. */
  #aim(address: bigint): boolean {
    const insn = this.#insn;
    const { addrSize, base } = insn;
    // A gather's index is a vector: its elements are small (fp-state.ts).
    const index = insn.row.vsib ? -1 : insn.index;
    const target = this.#offsetIn(insn.seg, address);
    // 16-bit addresses do not reach the area from a flat segment, and a displacement alone has other places.
    if (addrSize === 2 && (target > 0xffffn || base < 0)) return false;
    const disp = BigInt(insn.disp);
    if (base === BASE_RIP) return this.#setDisplacement(target - (CODE + BigInt(this.#codeOffset + insn.length)));
    if (base < 0 && index < 0) return this.#setDisplacement(target);
    if (base < 0) {
      if (this.random.chance(80)) this.#setLow(index, addrSize, BigInt(this.random.u32() >>> 10));
      return this.#setDisplacement(target - (this.#gpr[index] << BigInt(insn.scale)));
    }
    const rest = target - disp;
    if (index < 0) this.#setLow(base, addrSize, rest);
    else if (index !== base) this.#setLow(base, addrSize, rest - (this.#gpr[index] << BigInt(insn.scale)));
    else if (insn.scale > 0) this.#setLow(base, addrSize, rest * inverse(1n + (1n << BigInt(insn.scale))));
    else this.#setLow(base, addrSize, rest >> 1n);
    return true;
  }

  #setDisplacement(value: bigint): boolean {
    const insn = this.#insn;
    const narrow = BigInt.asIntN(32, value);
    if (insn.addrSize === 8 && narrow !== BigInt.asIntN(64, value)) return false;
    new DataView(this.#bytes.buffer, this.#bytes.byteOffset).setInt32(displacementIndex(insn, this.#bytes), Number(narrow), true);
    insn.disp = Number(narrow);
    return true;
  }

  /** The address that the memory operand has now. */
  #effective(): bigint {
    const { addrSize, base, index, scale, disp, length, seg, mode } = this.#insn;
    let sum = BigInt(disp);
    if (base === BASE_RIP) sum += CODE + BigInt(this.#codeOffset + length);
    else if (base >= 0) sum += this.#gpr[base];
    if (index >= 0) sum += this.#gpr[index] << BigInt(scale);
    return BigInt.asUintN(mode === 64 ? 64 : 32, (sum & addressMask(addrSize)) + this.#baseOf(seg));
  }

  /** Gives operand `n` a value, in its register or in memory. */
  #give(n: number, value: bigint): void {
    const insn = this.#insn;
    if (insn.kind[n] === OperandKind.Gpr) this.#setLow(insn.reg[n], insn.size[n], value);
    else if (insn.kind[n] === OperandKind.GprHigh) {
      this.#gpr[insn.reg[n]] = (this.#gpr[insn.reg[n]] & ~0xff00n) | ((value & 0xffn) << 8n);
    } else if (insn.kind[n] === OperandKind.Mem) {
      const address = this.#effective();
      this.#patches = [];
      this.#patchValue(address, insn.size[n], value);
    }
  }

  #selector(): bigint {
    return randomSelector(this.random, this.#insn.row.sem.startsWith('call'));
  }

  /** An offset and a selector one after the other, as far pointers in memory are. */
  #farPointer(size: number): bigint {
    return (randomFarOffset(this.random) & addressMask(size)) | (this.#selector() << BigInt(8 * size));
  }

  /** What IRET or RETF finds on the stack: words of the operand size. IRET's flags do no harm, and its stack is one of ours. */
  #returnFrame(isIret: boolean): void {
    const { random } = this;
    const size = this.#insn.opSize;
    const top = this.#stackTop();
    const words = [randomFarOffset(random), this.#selector()];
    if (isIret) words.push(random.u64() & 0x8d5n, this.#gpr[RSP], this.#selector());
    words.forEach((value, i) => {
      this.#patchValue(top + BigInt(size * i), size, value);
    });
  }

  /** Puts a far pointer where operand `n` is. */
  #giveFar(n: number): void {
    const address = this.#effective();
    const size = this.#insn.size[n] - 2;
    this.#patches = [];
    if (this.random.chance(95)) this.#patchValue(address, size + 2, this.#farPointer(size));
  }

  /** Where a branch may go: near, anywhere, and where nothing can be. */
  #target(): bigint {
    const { random } = this;
    const roll = random.below(10);
    if (roll < 6) return (this.#segments ? 0n : CODE) + BigInt(random.below(Layout.bytes));
    if (roll < 8) return BigInt(random.u32());
    return random.value();
  }

  #prepareSemantics(): void {
    const insn = this.#insn;
    const { random } = this;
    const gpr = this.#gpr;
    const { sem } = insn.row;
    if (insn.row.rep !== 'no') this.#prepareString();
    switch (sem) {
      case 'div':
      case 'idiv':
        this.#prepareDivision(sem === 'idiv');
        break;
      case 'ldmxcsr':
      case 'vldmxcsr':
        // Bit 17 is AMD's misaligned SSE mode, which no processor model here has (APM vol. 2 §11.7.2).
        this.#give(0, random.value() & ~0x2_0000n);
        break;
      case 'cmpxchg':
        if (random.chance(50)) this.#give(0, gpr[0]);
        break;
      case 'cmpxchg8b': {
        const half = insn.size[0] / 2;
        if (random.chance(50)) this.#give(0, (gpr[0] & addressMask(half)) | ((gpr[2] & addressMask(half)) << BigInt(8 * half)));
        break;
      }
      case 'loop':
      case 'loope':
      case 'loopne':
      case 'jcxz':
        if (random.chance(70)) this.#setLow(1, insn.addrSize, BigInt(random.below(3)));
        break;
      case 'bt':
      case 'bts':
      case 'btr':
      case 'btc':
        // A register gives a bit offset, and so an address: near the operand, mostly.
        if (
          insn.kind[1] === OperandKind.Gpr &&
          insn.kind[0] === OperandKind.Mem &&
          insn.reg[1] !== insn.base &&
          insn.reg[1] !== insn.index &&
          random.chance(90)
        )
          this.#setLow(insn.reg[1], insn.size[1], BigInt(random.below(8192) - 4096));
        break;
      case 'popf':
        this.#stackInside(8);
        // TF, NT and AC would outlive the instruction and disturb the harness.
        this.#patchValue(this.#stackTop(), 8, random.u64() & ~0x4_4100n);
        break;
      case 'ret':
        this.#patchValue(this.#stackTop(), 8, this.#target());
        break;
      case 'call_ind':
      case 'jmp_ind':
        this.#give(0, this.#target());
        break;
      case 'enter':
        // Frames of up to 64 KiB would always leave the area.
        if (random.chance(80)) this.#bytes[this.#bytes.length - 2] &= 3;
        if (random.chance(95)) gpr[5] = this.#offsetIn(SegmentNumber.SS, this.#address(8, 8));
        break;
      case 'mov_to_sreg':
      case 'lar':
      case 'lsl':
        this.#give(1, this.#selector());
        break;
      case 'verr':
      case 'verw':
        this.#give(0, this.#selector());
        break;
      case 'pop_sreg':
        this.#patchValue(this.#stackTop(), 8, this.#selector());
        break;
      case 'lds':
      case 'les':
      case 'lss':
      case 'lfs':
      case 'lgs':
        this.#giveFar(1);
        break;
      case 'jmp_far_ind':
      case 'call_far_ind':
        this.#giveFar(0);
        break;
      case 'jmp_far':
      case 'call_far': {
        const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length);
        view.setUint16(this.#bytes.length - 2, Number(this.#selector()), true);
        const offset = Number(BigInt.asUintN(32, randomFarOffset(random)));
        if (insn.opSize === 2) view.setUint16(this.#bytes.length - 4, offset & 0xffff, true);
        else view.setUint32(this.#bytes.length - 6, offset, true);
        break;
      }
      case 'ret_far':
        // With a 16-bit stack AMD lets a carry out of SP into the rest of ESP, against APM vol. 3, RET (Far).
        if (insn.operandCount > 0 && this.#descriptorOf(SegmentNumber.SS)?.wide === false)
          this.#bytes[this.#bytes.length - 1] &= 0x0f;
        this.#returnFrame(false);
        break;
      case 'iret':
        this.#returnFrame(true);
        break;
      case 'leave':
        if (random.chance(95)) gpr[5] = this.#offsetIn(SegmentNumber.SS, this.#address(8, 8));
        break;
      case 'bound': {
        const bits = 8 * (insn.size[1] / 2);
        const low = BigInt.asIntN(bits, random.value());
        const high = BigInt.asIntN(bits, low + BigInt(random.u32() >>> 1));
        if (random.chance(80)) this.#give(1, BigInt.asUintN(bits, low) | (BigInt.asUintN(bits, high) << BigInt(bits)));
        if (random.chance(60)) this.#give(0, BigInt.asUintN(bits, low + BigInt(random.u32() >>> 2)));
        break;
      }
      case 'shl':
      case 'shr':
      case 'sar':
      case 'rol':
      case 'ror':
      case 'rcl':
      case 'rcr':
      case 'shld':
      case 'shrd':
        if (insn.base !== 1 && insn.index !== 1 && random.chance(50)) this.#setLow(1, 1, BigInt(random.below(70)));
        break;
      default:
    }
  }

  /** Keeps the stack where reading it is harmless: in the data area or where nothing is. */
  #stackInside(size: number): void {
    const { random } = this;
    const at = DATA + BigInt(random.chance(90) ? random.below(Layout.bytes - size) : Layout.bytes - random.below(size));
    this.#gpr[RSP] = this.#offsetIn(SegmentNumber.SS, at);
  }

  /** Linear address that RSP points to. */
  #stackTop(): bigint {
    const narrow = this.#descriptorOf(SegmentNumber.SS)?.wide === false;
    return this.#baseOf(SegmentNumber.SS) + (narrow ? this.#gpr[RSP] & 0xffffn : this.#gpr[RSP]);
  }

  /** A dividend whose quotient mostly fits: its high half is small, or the sign of the low half. */
  #prepareDivision(signed: boolean): void {
    const { random } = this;
    const insn = this.#insn;
    const size = insn.size[0];
    const bits = 8 * size;
    const divisor = random.chance(10) ? random.value() : random.value() || 1n;
    const usesDividend = insn.base === 0 || insn.base === 2 || insn.index === 0 || insn.index === 2;
    if (random.chance(80)) this.#give(0, divisor);
    if (usesDividend || random.chance(25)) return;
    const cut = BigInt.asUintN(bits, divisor);
    const small = cut > 1n ? random.u64() % cut : 0n;
    const low = random.value();
    const negative = signed && random.chance(50);
    const high = random.chance(50) ? (negative ? -1n : 0n) : signed ? (negative ? -small / 2n : small / 2n) : small;
    if (size === 1) this.#setLow(0, 2, BigInt.asUintN(8, low) | (BigInt.asUintN(8, high) << 8n));
    else {
      this.#setLow(0, size, low);
      this.#setLow(2, size, high);
    }
  }

  /** Counts, and now and then equal stretches for CMPS and SCAS to run along. */
  #prepareString(): void {
    const { random } = this;
    const insn = this.#insn;
    const roll = random.below(100);
    if (insn.rep !== 0 && roll < 97) {
      this.#setLow(1, insn.addrSize, BigInt(roll < 80 ? random.below(20) : random.below(1500)));
    }
    if (insn.row.rep !== 'repcc' || random.chance(30)) return;
    const length = 8 * (1 + random.below(6));
    const same = new Uint8Array(length).fill(random.u32());
    const other = same.slice();
    if (random.chance(70)) other[random.below(length)] ^= 1 << random.below(8);
    const source = (this.#gpr[6] & addressMask(insn.addrSize)) + this.#baseOf(insn.seg);
    const target = (this.#gpr[7] & addressMask(insn.addrSize)) + this.#baseOf(SegmentNumber.ES);
    this.#patches = [];
    this.#patch(source, same);
    this.#patch(target, other);
    if (insn.row.sem === 'scas') this.#gpr[0] = BigInt(same[0]) * 0x0101_0101_0101_0101n;
  }
}
