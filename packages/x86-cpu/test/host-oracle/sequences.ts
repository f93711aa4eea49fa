/**
 * Random sequences of instructions that neither fault nor leave flags undefined: what single instructions cannot show is how one hands
 * flags, registers and memory to the next, and how blocks are linked.
 */
import { decode } from '../../src/decode/decoder.ts';
import { encodingsOf } from '../../src/decode/encodings.ts';
import { BASE_RIP, DecodeStatus, Insn, OperandKind } from '../../src/decode/instruction.ts';
import type { OpcodeRow } from '../../src/decode/opcodes.ts';
import type { FpState, OracleCase } from './case.ts';
import { Layout, STATUS_FLAGS } from './case.ts';
import { isInteger, vendorsDiffer } from './excluded.ts';
import { displacementIndex } from './operand-bytes.ts';
import type { Random } from './random.ts';

/** Instructions whose flags are all defined, but for AF, which none of them reads. */
const SEMS = new Set(
  (
    'add or adc sbb and sub xor cmp test inc dec neg not mov movzx movsx movsxd lea cmovcc setcc cbw cwd xchg xadd cmpxchg bswap ' +
    'stc clc cmc sahf popcnt adcx adox shlx sarx shrx rorx mulx pext pdep crc32 movbe push pop nop'
  ).split(' '),
);
/** x87, MMX and vector instructions that load whole blocks of state, or write where no pointer leads: a sequence would end there. */
const NO_VECTORS = new Set(
  'fxsave fxrstor fnsave frstor fldenv fnstenv fldcw ldmxcsr vldmxcsr maskmovq maskmovdqu vmaskmovdqu'.split(' '),
);
/** By one only: OF is defined. */
const SHIFTS = new Set('shl shr sar rol ror rcl rcr'.split(' '));
/** RSP, RBP and R13 point into the data area and stay there. */
const POINTERS = [4, 5, 13];
/** Counts rounds where a sequence is repeated: EDI, R14. */
const COUNTERS = { 32: 7, 64: 14 } as const;
/** DEC of the counter; the branch back follows. */
const COUNT_DOWN = { 32: [0x4f], 64: [0x49, 0xff, 0xce] } as const;
const ROUNDS = 6;

/** Encodings to make sequences of, for one mode. */
export class SequencePool {
  readonly #mode: 32 | 64;
  readonly #random: Random;
  readonly #encodings: Uint8Array[] = [];
  readonly #insn = new Insn();

  constructor(mode: 32 | 64, random: Random, rows: readonly OpcodeRow[]) {
    this.#mode = mode;
    this.#random = random;
    for (let i = 0; i < ROUNDS; i++)
      for (const row of rows) {
        if (!this.#wants(row)) continue;
        for (const bytes of encodingsOf(row, mode, random.u32)) if (this.#suits(bytes)) this.#encodings.push(bytes);
      }
  }

  #wants(row: OpcodeRow): boolean {
    if (!isInteger(row)) return !NO_VECTORS.has(row.sem);
    return SEMS.has(row.sem) || (SHIFTS.has(row.sem) && row.operands[1] === '1');
  }

  /** Whether an instruction leaves the pointers alone and finds its memory through them, or at an address of its own. */
  #suits(bytes: Uint8Array): boolean {
    const insn = this.#insn;
    if (decode(bytes, 0, bytes.length, this.#mode, insn) !== DecodeStatus.Ok) return false;
    if (insn.row.sem === 'bswap' && insn.opSize === 2) return false;
    if (vendorsDiffer(insn)) return false;
    for (let n = 0; n < insn.operandCount; n++) {
      const kind = insn.kind[n];
      if (kind === OperandKind.Gpr && (POINTERS.includes(insn.reg[n]) || insn.reg[n] === COUNTERS[this.#mode])) return false;
      if (kind === OperandKind.Moffs) return false;
      if (kind !== OperandKind.Mem || insn.row.sem === 'lea' || insn.row.sem === 'nop') continue;
      if (insn.index >= 0 || insn.addrSize * 8 !== this.#mode) return false;
      if (insn.base >= 0 && insn.base !== BASE_RIP && !POINTERS.includes(insn.base)) return false;
    }
    return true;
  }

  /**
   * A sequence of `count` instructions, with forward branches between them, placed anywhere in the code area; done `rounds` times if more
   * than once, so that an engine that compiles what runs often does so.
   */
  make(count: number, rounds: number, fp?: (random: Random, insn: Insn) => FpState): OracleCase {
    const random = this.#random;
    const mode = this.#mode;
    const gpr = new BigUint64Array(16);
    for (let i = 0; i < 16; i++) gpr[i] = mode === 64 ? random.value() : BigInt.asUintN(32, random.value());
    for (const reg of POINTERS) gpr[reg] = BigInt(Layout.data + 0x800 + (random.below(0x1000) & (fp ? -16 : -1)));
    const codeOffset = random.chance(20) ? 0x1000 - random.below(60) : random.below(Layout.bytes - 256);
    const bytes: number[] = [];
    for (let i = 0; i < count; i++) {
      const one = this.#aimed(this.#pick(rounds > 1), Layout.code + codeOffset + bytes.length + 2);
      // Now and then a branch over the next instruction.
      const skip = random.chance(25) ? [random.chance(85) ? 0x70 | random.below(16) : 0xeb, one.length] : [0x66, 0x90];
      if (skip[0] !== 0x66 || random.chance(10)) bytes.push(...skip);
      else this.#retarget(one, 2);
      bytes.push(...one);
    }
    if (rounds > 1) {
      // Most loops walk a pointer out of the area: the fault must find everything as it was in that very round.
      const stride = random.pick([0, 1, -1, 4, -4, 8]);
      const lea = [0x8d, random.chance(50) ? 0x6d : 0x64, stride & 0xff];
      if (lea[1] === 0x64) lea.splice(2, 0, 0x24);
      if (stride !== 0) bytes.push(...(mode === 64 ? [0x48] : []), ...lea);
      gpr[COUNTERS[mode]] = BigInt(rounds);
      bytes.push(...COUNT_DOWN[mode], 0x0f, 0x85);
      const back = -(bytes.length + 4);
      for (let i = 0; i < 32; i += 8) bytes.push((back >> i) & 0xff);
    }
    const rflags = random.u32() & STATUS_FLAGS;
    const one = { mode, bytes: Uint8Array.from(bytes), codeOffset, gpr, rflags, patches: [], branch: false, sequence: true };
    return fp ? { ...one, fp: fp(random, this.#insn) } : one;
  }

  /** Any encoding; in a loop not one that moves the stack pointer, which would soon leave the area. */
  #pick(inLoop: boolean): Uint8Array {
    for (;;) {
      const bytes = this.#random.pick(this.#encodings);
      if (!inLoop) return bytes;
      decode(bytes, 0, bytes.length, this.#mode, this.#insn);
      if (!/^(push|pop)$/.test(this.#insn.row.sem)) return bytes;
    }
  }

  /** A copy, for execution at `address`, with its memory operand in the data area. */
  #aimed(encoding: Uint8Array, address: number): Uint8Array {
    const insn = this.#insn;
    const bytes = encoding.slice();
    decode(bytes, 0, bytes.length, this.#mode, insn);
    this.#displacement = -1;
    const memory = insn.modrm >= 0 && insn.modrm < 0xc0 && insn.row.sem !== 'lea' && insn.row.sem !== 'nop';
    if (!memory) return bytes;
    const aligned = insn.size.includes(16) ? -16 : -1;
    if (insn.modrm >> 6 === 1) bytes[displacementIndex(insn, bytes)] &= aligned;
    const wide = insn.base < 0 || insn.base === BASE_RIP || insn.modrm >> 6 === 2;
    if (!wide) return bytes;
    const at = displacementIndex(insn, bytes);
    const target = Layout.data + 0x400 + (this.#random.below(0x1800) & aligned);
    const value =
      insn.base < 0
        ? target
        : insn.base === BASE_RIP
          ? target - (address + bytes.length)
          : (this.#random.below(0x600) - 0x300) & aligned;
    new DataView(bytes.buffer).setInt32(at, value, true);
    if (insn.base === BASE_RIP) this.#displacement = at;
    return bytes;
  }
  /** Where the last aimed instruction has a displacement that depends on its address, or -1. */
  #displacement = -1;

  /** The instruction moves `by` bytes down after all. */
  #retarget(bytes: Uint8Array, by: number): void {
    if (this.#displacement < 0) return;
    const view = new DataView(bytes.buffer);
    view.setInt32(this.#displacement, view.getInt32(this.#displacement, true) + by, true);
  }
}
