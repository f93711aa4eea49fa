/** Conversions between binary16 and binary32 (SDM vol. 1 §14.4). */
import type { FuncRef, I64 } from '@tsvisor/wasm-codegen';
import { CPU } from '../state.ts';
import type { FormatParts } from './float-arithmetic.ts';
import type { FloatModule, Unary } from './float-format.ts';
import { F16_FORMAT, F32_FORMAT, FloatFlag, FloatRoutine, Mxcsr } from './float-format.ts';

const WIDER = F32_FORMAT.fraction - F16_FORMAT.fraction;

/** binary16 → binary32 (VCVTPH2PS): exact; denormals are ordinary numbers to it, whatever MXCSR.DAZ says. */
export function fromHalfRoutine(home: FloatModule, half: FormatParts): Unary {
  const r = new FloatRoutine(home, F16_FORMAT, 'f16_to_f32', 1);
  const { f } = r;
  const { i64 } = f;
  const a = r.param(0);
  const sign = r.local(() => i64.shl(r.sign(a), i64.const(16)));
  f.if(r.isNaN(a), () => {
    f.if(r.isSignaling(a), () => r.raise(FloatFlag.IE));
    const payload = i64.shl(i64.and(f.get(a), r.const((1n << F16_FORMAT.fraction) - 1n)), r.const(WIDER));
    f.return(i64.or(i64.or(payload, f.get(sign)), r.const(F32_FORMAT.infinity | F32_FORMAT.quiet)));
  });
  f.if(r.isInfinite(a), () => f.return(i64.or(f.get(sign), r.const(F32_FORMAT.infinity))));
  f.if(r.isZero(a), () => f.return(f.get(sign)));
  const rank = i64.add(f.call(half.exponent, f.get(a)), r.const(F32_FORMAT.bias - F16_FORMAT.bias));
  const exponent = i64.shl(rank, r.const(F32_FORMAT.fraction));
  // The significand's leading one, at bit 62, is not stored.
  const significand = i64.shr_u(f.call(half.significand, f.get(a)), r.const(62n - F32_FORMAT.fraction));
  const fraction = i64.and(significand, r.const((1n << F32_FORMAT.fraction) - 1n));
  i64.or(i64.or(exponent, fraction), f.get(sign));
  return r.ref();
}

/** (binary32, immediate) → binary16 (VCVTPS2PH). Immediate bits 1:0 are the rounding unless bit 2 takes MXCSR's; FTZ does not count. */
export function toHalfRoutine(home: FloatModule, single: FormatParts, half: FormatParts): FuncRef<[I64, I64], I64> {
  const r = new FloatRoutine(home, F32_FORMAT, 'f32_to_f16', 2);
  const { f } = r;
  const { i64, i32 } = f;
  const [a, immediate] = [r.param(0), r.param(1)];
  r.denormalsAreZero(a);
  const sign = r.local(() => i64.shr_u(r.sign(a), i64.const(16)));
  f.if(r.isNaN(a), () => {
    f.if(r.isSignaling(a), () => r.raise(FloatFlag.IE));
    const payload = i64.and(i64.shr_u(f.get(a), r.const(WIDER)), r.const((1n << F16_FORMAT.fraction) - 1n));
    f.return(i64.or(i64.or(payload, f.get(sign)), r.const(F16_FORMAT.infinity | F16_FORMAT.quiet)));
  });
  f.if(r.isInfinite(a), () => f.return(i64.or(f.get(sign), r.const(F16_FORMAT.infinity))));
  f.if(r.isZero(a), () => f.return(f.get(sign)));
  r.raiseDenormal(a);
  // Rounding reads MXCSR: for its while it says what the immediate does.
  const mxcsr = f.local('i32');
  f.set(mxcsr, r.mxcsr());
  const set = (value: () => ReturnType<FloatRoutine['mxcsr']>): void =>
    i32.store(f.globalGet(home.cpu), value(), CPU.offset.mxcsr);
  const chosen = f.local('i32');
  f.set(chosen, i32.and(f.get(mxcsr), i32.const(~Mxcsr.FTZ)));
  f.if(i64.eqz(i64.and(f.get(immediate), i64.const(4))), () => {
    const rounding = i32.shl(i32.and(i32.wrap_i64(f.get(immediate)), i32.const(3)), i32.const(13));
    f.set(chosen, i32.or(rounding, i32.and(f.get(chosen), i32.const(~Mxcsr.RC))));
  });
  set(() => f.get(chosen));
  const exponent = (): I64 => i64.sub(f.call(single.exponent, f.get(a)), r.const(F32_FORMAT.bias - F16_FORMAT.bias));
  const result = r.local(() => f.call(half.pack, f.get(sign), exponent(), f.call(single.significand, f.get(a))));
  set(() => f.get(mxcsr));
  f.get(result);
  return r.ref();
}
