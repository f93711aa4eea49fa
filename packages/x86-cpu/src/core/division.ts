/** 128-bit products and quotients, which WebAssembly has no instructions for. */
import type { FunctionBuilder, I64, ModuleBuilder } from '@tsvisor/wasm-codegen';

/** High half of the unsigned product, by 32-bit halves. */
export function addMulHighU(module: ModuleBuilder): FunctionBuilder {
  const f = module.function('mulHighU', ['i64', 'i64'], ['i64']);
  const [a, b] = [f.param(0, 'i64'), f.param(1, 'i64')];
  const low = (x: typeof a): I64 => f.i64.and(f.get(x), f.i64.const(0xffff_ffff));
  const high = (x: typeof a): I64 => f.i64.shr_u(f.get(x), f.i64.const(32));
  const middle = f.local('i64');
  const cross = f.local('i64');
  f.set(middle, f.i64.add(f.i64.mul(high(a), low(b)), f.i64.shr_u(f.i64.mul(low(a), low(b)), f.i64.const(32))));
  f.set(cross, f.i64.add(f.i64.mul(low(a), high(b)), f.i64.and(f.get(middle), f.i64.const(0xffff_ffff))));
  f.i64.add(f.i64.add(f.i64.mul(high(a), high(b)), high(middle)), high(cross));
  return f;
}

/** High half of the signed product: the unsigned one corrected for each negative operand. */
export function addMulHighS(module: ModuleBuilder, unsigned: FunctionBuilder): FunctionBuilder {
  const f = module.function('mulHighS', ['i64', 'i64'], ['i64']);
  const [a, b] = [f.param(0, 'i64'), f.param(1, 'i64')];
  const correction = (x: typeof a, y: typeof a): I64 => f.i64.and(f.i64.shr_s(f.get(x), f.i64.const(63)), f.get(y));
  const product = f.call(unsigned.ref<[I64, I64], I64>(), f.get(a), f.get(b));
  f.i64.sub(f.i64.sub(product, correction(a, b)), correction(b, a));
  return f;
}

/**
 * (high, low, divisor) → quotient; high < divisor, so it fits. A zero high half, nearly every division there is, is one machine
 * division; otherwise one quotient bit at a time.
 */
export function addDivide128(module: ModuleBuilder): FunctionBuilder {
  const f = module.function('divide128', ['i64', 'i64', 'i64'], ['i64']);
  const [high, low, divisor] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i64')];
  const bits = f.local('i32');
  const out = f.local('i64');
  f.if(f.i64.eqz(f.get(high)), () => f.return(f.i64.div_u(f.get(low), f.get(divisor))));
  f.set(bits, f.i32.const(64));
  f.loop((again) => {
    f.set(out, f.i64.shr_u(f.get(high), f.i64.const(63)));
    f.set(high, f.i64.or(f.i64.shl(f.get(high), f.i64.const(1)), f.i64.shr_u(f.get(low), f.i64.const(63))));
    f.set(low, f.i64.shl(f.get(low), f.i64.const(1)));
    const fits = f.i32.or(f.i32.wrap_i64(f.get(out)), f.i64.ge_u(f.get(high), f.get(divisor)));
    f.if(fits, () => {
      f.set(high, f.i64.sub(f.get(high), f.get(divisor)));
      f.set(low, f.i64.or(f.get(low), f.i64.const(1)));
    });
    f.set(bits, f.i32.sub(f.get(bits), f.i32.const(1)));
    f.brIf(again, f.get(bits));
  });
  f.get(low);
  return f;
}
