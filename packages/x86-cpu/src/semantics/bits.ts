/** Bit manipulation and multi-precision extensions: BMI1, BMI2, ADX (SDM vol. 2). None of them faults but on its memory operand. */
import type { I64, Local } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { Reg } from '../state.ts';
import type { Semantics, SemanticsTable } from './types.ts';

/** r = ~first source & second: the first is VEX.vvvv. */
const andNot: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  const mask = e.let(f.i64.xor(e.read(1), f.i64.const(-1)));
  const r = e.let(e.truncate(f.i64.and(f.get(mask), e.read(2)), size));
  e.flagsLogic(size, r);
  e.write(0, r);
};

/** BLSR, BLSMSK, BLSI: the source with, or only, its lowest set bit; CF tells whether there is one. */
const lowestBit =
  (operation: 'reset' | 'mask' | 'isolate'): Semantics =>
  (e) => {
    const { f } = e;
    const size = e.size(0);
    const x = e.let(e.read(1));
    const less = (): I64 => f.i64.sub(f.get(x), f.i64.const(1));
    const value = (): I64 => {
      if (operation === 'reset') return f.i64.and(f.get(x), less());
      if (operation === 'mask') return f.i64.xor(f.get(x), less());
      return f.i64.and(f.get(x), f.i64.sub(f.i64.const(0), f.get(x)));
    };
    const r = e.let(e.truncate(value(), size));
    const empty = e.let32(f.i64.eqz(f.get(x)));
    e.flagsResult(
      size,
      r,
      () => (operation === 'isolate' ? f.i32.eqz(f.get(empty)) : f.get(empty)),
      () => f.i32.const(0),
    );
    e.write(0, r);
  };

/** The low `count` bits of a value; all of them from 64 on. */
function lowBits(e: Emitter, value: Local<I64>, count: Local<I64>): I64 {
  const { f } = e;
  const mask = e.let(f.i64.sub(f.i64.shl(f.i64.const(1), f.get(count)), f.i64.const(1)));
  const cut = e.let(f.i64.and(f.get(value), f.get(mask)));
  return f.select(f.get(cut), f.get(value), f.i64.lt_u(f.get(count), f.i64.const(64)));
}

/** BZHI: clears the bits from an index on; CF when the index is beyond the operand. */
const zeroHigh: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  const source = e.let(e.read(1));
  const index = e.let(e.truncate(e.read(2), 1));
  const r = e.let(lowBits(e, source, index));
  e.flagsResult(
    size,
    r,
    () => f.i64.gt_u(f.get(index), f.i64.const(8 * size - 1)),
    () => f.i32.const(0),
  );
  e.write(0, r);
};

/** BEXTR: bits 7:0 of the control are the start, 15:8 the length. */
const extractField: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  const source = e.let(e.read(1));
  const control = e.let(e.read(2));
  const start = e.let(e.truncate(f.get(control), 1));
  const length = e.let(e.truncate(f.i64.shr_u(f.get(control), f.i64.const(8)), 1));
  const shifted = e.let(f.i64.shr_u(f.get(source), f.get(start)));
  const field = e.let(f.select(f.get(shifted), f.i64.const(0), f.i64.lt_u(f.get(start), f.i64.const(64))));
  const r = e.let(lowBits(e, field, length));
  e.flagsLogic(size, r);
  e.write(0, r);
};

/** SHLX, SARX, SHRX: shifts by a register that leave the flags alone. */
const shiftByRegister =
  (kind: 'shl' | 'shr_s' | 'shr_u'): Semantics =>
  (e) => {
    const { f } = e;
    const size = e.size(0);
    const source = e.let(kind === 'shr_s' ? e.readSigned(1) : e.read(1));
    const count = e.let(f.i64.and(e.read(2), f.i64.const(8 * size - 1)));
    e.write(0, e.let(e.truncate(f.i64[kind](f.get(source), f.get(count)), size)));
  };

const rotateRight: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  const source = e.let(e.read(1));
  const count = e.let(e.read(2, 1));
  if (size === 8) e.write(0, e.let(f.i64.rotr(f.get(source), f.get(count))));
  else e.write(0, e.let(f.i64.extend_i32_u(f.i32.rotr(f.i32.wrap_i64(f.get(source)), f.i32.wrap_i64(f.get(count))))));
};

/** MULX: rDX times the source, high half to the first operand, low half to the second; one register for both gets the high half. */
const multiplyExtended: Semantics = (e) => {
  const { f } = e;
  const size = e.size(0);
  const source = e.let(e.read(2));
  const rdx = e.let(e.gpr(Reg.RDX, size));
  const low = e.let(f.i64.mul(f.get(rdx), f.get(source)));
  const high = e.let(
    size === 8 ? f.call(e.helpers.mulHighU, f.get(rdx), f.get(source)) : f.i64.shr_u(f.get(low), f.i64.const(32)),
  );
  e.write(1, e.let(e.truncate(f.get(low), size)));
  e.write(0, high);
};

/** PEXT gathers the source's bits under the mask to the low end, PDEP scatters them from there. */
const parallelBits =
  (gather: boolean): Semantics =>
  (e) => {
    const { f } = e;
    const source = e.let(e.read(1));
    const mask = e.let(e.read(2));
    const r = e.let(f.i64.const(0));
    const low = e.let(f.i64.const(1));
    f.block((done) =>
      f.loop((again) => {
        f.brIf(done, f.i64.eqz(f.get(mask)));
        const place = e.let(f.i64.and(f.get(mask), f.i64.sub(f.i64.const(0), f.get(mask))));
        const [from, to] = gather ? [place, low] : [low, place];
        f.if(f.i64.ne(f.i64.and(f.get(source), f.get(from)), f.i64.const(0)), () => f.set(r, f.i64.or(f.get(r), f.get(to))));
        f.set(low, f.i64.shl(f.get(low), f.i64.const(1)));
        f.set(mask, f.i64.xor(f.get(mask), f.get(place)));
        f.br(again);
      }),
    );
    e.write(0, r);
  };

/** ADCX, ADOX: addition with CF, or OF, as the only carry in and out. */
const addWithOneFlag =
  (flag: 'carry' | 'overflow'): Semantics =>
  (e) => {
    const { f } = e;
    const size = e.size(0);
    const b = e.let(e.read(1));
    const a = e.let(e.read(0));
    const cf = e.let32(e.carry());
    const of = e.let32(e.condition(0));
    const carryIn = flag === 'carry' ? cf : of;
    const sum = e.let(f.i64.add(f.i64.add(f.get(a), f.get(b)), f.i64.extend_i32_u(f.get(carryIn))));
    const r = e.let(e.truncate(f.get(sum), size));
    const top = (): I64 => {
      if (size === 4) return f.i64.shr_u(f.get(sum), f.i64.const(32));
      const both = f.i64.and(f.get(a), f.get(b));
      const either = f.i64.and(f.i64.or(f.get(a), f.get(b)), f.i64.xor(f.get(r), f.i64.const(-1)));
      return f.i64.shr_u(f.i64.or(both, either), f.i64.const(63));
    };
    f.set(carryIn, f.i32.wrap_i64(top()));
    e.flagsCarryOverflow(
      () => f.get(cf),
      () => f.get(of),
    );
    e.write(0, r);
  };

export const bitSemantics: SemanticsTable = {
  andn: andNot,
  blsr: lowestBit('reset'),
  blsmsk: lowestBit('mask'),
  blsi: lowestBit('isolate'),
  bzhi: zeroHigh,
  bextr: extractField,
  shlx: shiftByRegister('shl'),
  sarx: shiftByRegister('shr_s'),
  shrx: shiftByRegister('shr_u'),
  rorx: rotateRight,
  mulx: multiplyExtended,
  pext: parallelBits(true),
  pdep: parallelBits(false),
  adcx: addWithOneFlag('carry'),
  adox: addWithOneFlag('overflow'),
};
