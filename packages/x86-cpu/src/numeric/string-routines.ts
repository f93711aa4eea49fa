/**
 * `string_compare`: what PCMPESTRI and its kin compute before they select (SDM vol. 2B §4.1.3–4.1.6):
 * (first operand, second operand, their lengths in elements, immediate) → IntRes2, bit n for element n of the second operand.
 */
import type { FuncRef, FunctionBuilder, I32, Label, Local, ModuleBuilder, V128 } from '@tsvisor/wasm-codegen';

type Element = 'i8x16' | 'i16x8';

/** Element `index` of a vector in all places: a swizzle with a run-time index. */
function spread(f: FunctionBuilder, vector: Local<V128>, index: Local<I32>, element: Element): V128 {
  const { v128, i32 } = f;
  const value = f.get(vector);
  if (element === 'i8x16') return v128.i8x16_swizzle(value, v128.splat('i8x16', f.get(index)));
  const pair = i32.add(i32.mul(f.get(index), i32.const(0x0202)), i32.const(0x0100));
  return v128.i8x16_swizzle(value, v128.splat('i16x8', pair));
}

type Compare = 'eq' | 'le_s' | 'ge_s';
const mask = (f: FunctionBuilder, element: Element, op: Compare, left: V128, right: V128): I32 => {
  const { v128 } = f;
  return element === 'i8x16'
    ? v128.i8x16_bitmask(v128[`i8x16_${op}`](left, right))
    : v128.i16x8_bitmask(v128[`i16x8_${op}`](left, right));
};

/** Adds the routine to a module under construction. */
export function addStringRoutine(module: ModuleBuilder): FuncRef<never, unknown> {
  const f = module.function('string_compare', ['v128', 'v128', 'i32', 'i32', 'i32'], ['i32']);
  const { v128, i32 } = f;
  const [a, b] = [f.param(0, 'v128'), f.param(1, 'v128')];
  const [lengthA, lengthB, control] = [f.param(2, 'i32'), f.param(3, 'i32'), f.param(4, 'i32')];
  const [result, index, capacity] = [f.local('i32'), f.local('i32'), f.local('i32')];
  const [validA, validB, all] = [f.local('i32'), f.local('i32'), f.local('i32')];
  const below = (count: Local<I32>): I32 => i32.sub(i32.shl(i32.const(1), f.get(count)), i32.const(1));
  const bit = (): I32 => i32.shl(i32.const(1), f.get(index));
  f.set(capacity, i32.shr_u(i32.const(16), i32.and(f.get(control), i32.const(1))));
  f.set(validA, below(lengthA));
  f.set(validB, below(lengthB));
  f.set(all, below(capacity));

  /** Runs `body` for index = 0 … count − 1. */
  const forEach = (count: Local<I32>, body: () => void): void => {
    f.set(index, i32.const(0));
    f.block((done: Label) => {
      f.loop((again) => {
        f.brIf(done, i32.ge_u(f.get(index), f.get(count)));
        body();
        f.set(index, i32.add(f.get(index), i32.const(1)));
        f.br(again);
      });
    });
  };
  const collect = (bits: () => I32): void =>
    f.if(bits(), () => {
      const before = f.get(result);
      f.set(result, i32.or(before, bit()));
    });

  const aggregate = (element: Element): void => {
    const is = (n: number): I32 => i32.eq(i32.and(f.get(control), i32.const(0xc)), i32.const(n << 2));
    const row = (op: Compare) => (): I32 => {
      const one = spread(f, b, index, element);
      return mask(f, element, op, one, f.get(a));
    };
    const equalAny = (): void => forEach(lengthB, () => collect(() => i32.and(row('eq')(), f.get(validA))));
    const ranges = (): void => {
      // Comparisons are signed: unsigned elements are moved by half their range first.
      f.if(i32.eqz(i32.and(f.get(control), i32.const(2))), () => {
        const bias = () => v128.splat(element, i32.const(element === 'i8x16' ? 0x80 : 0x8000));
        f.set(a, v128.xor(f.get(a), bias()));
        f.set(b, v128.xor(f.get(b), bias()));
      });
      const pairs = (): I32 => {
        const atLeast = i32.and(row('ge_s')(), f.get(validA));
        return i32.and(i32.and(atLeast, i32.shr_u(i32.and(row('le_s')(), f.get(validA)), i32.const(1))), i32.const(0x5555));
      };
      forEach(lengthB, () => collect(pairs));
    };
    const equalEach = (): void => {
      const left = f.get(a);
      const same = i32.and(i32.and(mask(f, element, 'eq', left, f.get(b)), f.get(validA)), f.get(validB));
      const neither = i32.xor(i32.or(f.get(validA), f.get(validB)), i32.const(-1));
      f.set(result, i32.and(i32.or(same, neither), f.get(all)));
    };
    const equalOrdered = (): void => {
      f.set(result, f.get(all));
      forEach(lengthA, () => {
        const before = f.get(result);
        const one = spread(f, a, index, element);
        const found = i32.and(mask(f, element, 'eq', one, f.get(b)), f.get(validB));
        // Element n of the first operand is compared with element n + i of the second; beyond the end anything matches.
        const beyond = () => i32.xor(i32.shr_u(f.get(all), f.get(index)), i32.const(-1));
        f.set(result, i32.and(before, i32.or(i32.shr_u(found, f.get(index)), beyond())));
      });
      f.set(result, i32.and(f.get(result), f.get(all)));
    };
    f.if(is(0), equalAny, () => f.if(is(1), ranges, () => f.if(is(2), equalEach, equalOrdered)));
  };
  f.if(
    i32.and(f.get(control), i32.const(1)),
    () => aggregate('i16x8'),
    () => aggregate('i8x16'),
  );
  // Polarity: negated, or only where the second operand is valid.
  f.if(i32.and(f.get(control), i32.const(0x10)), () => {
    const before = f.get(result);
    f.set(result, i32.xor(before, f.select(f.get(validB), f.get(all), i32.and(f.get(control), i32.const(0x20)))));
  });
  f.get(result);
  return f.ref<never, I32>();
}
