/** Data movement: MOV, LEA, XCHG, extensions, conditional moves, flag images (SDM vol. 1 §7.3.1). */
import type { I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { ExitRequest } from '../state.ts';
import type { Semantics, SemanticsTable } from './types.ts';

const move: Semantics = (e) => {
  const size = e.size(0);
  const value = e.let(e.read(1, size));
  e.write(0, value);
};

const loadEffectiveAddress: Semantics = (e) => {
  const value = e.let(e.truncate(e.effectiveAddress(), e.size(0)));
  e.write(0, value);
};

const exchange: Semantics = (e) => {
  // The memory operand, if any, is the first: it is checked for writing before anything changes.
  e.modify(
    0,
    (old) => {
      const other = e.let(e.read(1));
      e.write(1, old);
      return other;
    },
    { operation: 'xchg', operand: () => e.read(1) },
  );
};

const zeroExtend: Semantics = (e) => e.write(0, e.let(e.read(1)));
const signExtend: Semantics = (e) => e.write(0, e.let(e.truncate(e.readSigned(1), e.size(0))));

const conditionalMove: Semantics = (e) => {
  const size = e.size(0);
  // The source is read, and may fault, whether or not the condition holds; the destination is written (32-bit: upper half cleared)
  // either way (SDM vol. 2A, CMOVcc).
  const source = e.let(e.read(1, size));
  const old = e.let(e.read(0, size));
  e.write(0, e.let(e.f.select(e.f.get(source), e.f.get(old), e.condition(e.form.cond))));
};

const setOnCondition: Semantics = (e) => e.write(0, e.let(e.f.i64.extend_i32_u(e.condition(e.form.cond))));

/** CBW, CWDE, CDQE by operand size. */
const convertAccumulator: Semantics = (e) => {
  const size = e.form.opSize;
  const value = e.let(e.truncate(e.signExtend(e.gpr(0, size / 2), size / 2), size));
  e.setGpr(0, size, value);
};

/** CWD, CDQ, CQO. */
const convertToPair: Semantics = (e) => {
  const size = e.form.opSize;
  const sign = e.f.i64.shr_s(e.signExtend(e.gpr(0, size), size), e.f.i64.const(63));
  e.setGpr(2, size, e.let(e.truncate(sign, size)));
};

/** Reverses the eight bytes of a local. */
function reverseBytes(e: Emitter, x: Local<I64>): void {
  const { f } = e;
  const swap = (mask: bigint, shift: number) => {
    const up = f.i64.shl(f.i64.and(f.get(x), f.i64.const(mask)), f.i64.const(shift));
    f.set(x, f.i64.or(up, f.i64.and(f.i64.shr_u(f.get(x), f.i64.const(shift)), f.i64.const(mask))));
  };
  swap(0x00ff00ff00ff00ffn, 8);
  swap(0x0000ffff0000ffffn, 16);
  f.set(x, f.i64.rotl(f.get(x), f.i64.const(32)));
}

const byteSwap: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  if (size === 2) {
    // SDM vol. 2A, BSWAP: undefined for 16 bits; processors clear the register's low word.
    e.write(0, e.let(f.i64.const(0)));
    return;
  }
  const x = e.let(e.read(0));
  reverseBytes(e, x);
  if (size === 4) f.set(x, f.i64.shr_u(f.get(x), f.i64.const(32)));
  e.write(0, x);
};

/** MOVBE swaps on the way between a register and memory. */
const moveBigEndian: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  const x = e.let(e.read(1));
  reverseBytes(e, x);
  if (size < 8) f.set(x, f.i64.shr_u(f.get(x), f.i64.const(64 - 8 * size)));
  e.write(0, x);
};

/** XLAT: AL = [rBX + AL]. The table's address is not a ModRM operand, so the linear address is formed here. */
const translateByte: Semantics = (e) => {
  const { f } = e;
  const offset = e.let(e.truncate(f.i64.add(e.gpr(3, e.form.addrSize), e.gpr(0, 1)), e.form.addrSize));
  const va = e.stringAddress(offset, 1, false);
  e.setGpr(0, 1, e.let(e.load(va, 1)));
};

const carryInstruction =
  (change: 'clear' | 'set' | 'complement'): Semantics =>
  (e) => {
    const { f } = e;
    const carry = e.let32(change === 'clear' ? f.i32.const(0) : change === 'set' ? f.i32.const(1) : f.i32.eqz(e.carry()));
    e.flagsCarry(() => f.get(carry));
  };

const direction =
  (set: boolean): Semantics =>
  (e) =>
    e.store32('rflags', () =>
      set ? e.f.i32.or(e.load32('rflags'), e.f.i32.const(0x400)) : e.f.i32.and(e.load32('rflags'), e.f.i32.const(~0x400)),
    );

/** LAHF: AH = SF:ZF:0:AF:0:PF:1:CF. */
const loadFlags: Semantics = (e) =>
  e.setGprHigh(0, e.let(e.f.i64.extend_i32_u(e.f.i32.or(e.f.i32.and(e.statusFlags(), e.f.i32.const(0xd5)), e.f.i32.const(2)))));

/** SAHF: all but OF from AH. */
const storeFlags: Semantics = (e) => {
  const { f } = e;
  const overflow = f.i32.and(e.statusFlags(), f.i32.const(0x800));
  e.setStatusFlags(e.let32(f.i32.or(overflow, f.i32.and(f.i32.wrap_i64(e.gprHigh(0)), f.i32.const(0xd5)))));
};

const setAlOnCarry: Semantics = (e) =>
  e.setGpr(0, 1, e.let(e.truncate(e.f.i64.extend_i32_s(e.f.i32.sub(e.f.i32.const(0), e.carry())), 1)));

const nothing: Semantics = () => undefined;

/** Who spins waits for another processor, which may not be running: after some rounds the run loop is told. */
const countPause: Semantics = (e) => {
  const { i32 } = e.f;
  e.store32('pauses', () => i32.sub(e.load32('pauses'), i32.const(1)));
  e.f.if(i32.lt_s(e.load32('pauses'), i32.const(0)), () => e.store32('exitRequest', () => i32.const(ExitRequest.LOOK)));
};
/** Caches are not modelled, but the address is checked as a byte load's is (SDM vol. 2A, CLFLUSH). */
const touch: Semantics = (e) => e.f.drop(e.load(e.address(1, false), 1));

export const moveSemantics: SemanticsTable = {
  mov: move,
  movnti: move,
  movbe: moveBigEndian,
  lea: loadEffectiveAddress,
  xchg: exchange,
  movzx: zeroExtend,
  movsx: signExtend,
  movsxd: signExtend,
  cmovcc: conditionalMove,
  setcc: setOnCondition,
  cbw: convertAccumulator,
  cwd: convertToPair,
  bswap: byteSwap,
  xlat: translateByte,
  clc: carryInstruction('clear'),
  stc: carryInstruction('set'),
  cmc: carryInstruction('complement'),
  cld: direction(false),
  std: direction(true),
  lahf: loadFlags,
  sahf: storeFlags,
  salc: setAlOnCarry,
  nop: nothing,
  pause: countPause,
  lfence: (e) => e.f.atomicFence(),
  mfence: (e) => e.f.atomicFence(),
  sfence: (e) => e.f.atomicFence(),
  clflush: touch,
  clflushopt: touch,
  clwb: touch,
};
