/** FMA3 and F16C (SDM vol. 1 §14.4–14.5). */
import type { I64, Local, V128 } from '@tsvisor/wasm-codegen';
import type { Emitter } from '../emit/emitter.ts';
import { Fused } from '../numeric/float-fused.ts';
import { replaceElement } from '../numeric/vector-element.ts';
import { commitFlags } from './sse-float.ts';
import { routine, zeroVector } from './sse-operands.ts';
import type { Semantics, SemanticsTable } from './types.ts';
import { readHalves, readRegisterHalf, vectorBytes, writeRegister } from './vex-operands.ts';

/** Operands in the order (factor, factor, addend), by the digits of the mnemonic (SDM vol. 2C, VFMADD132PD). */
const ORDERS = { '132': [0, 2, 1], '213': [1, 0, 2], '231': [1, 2, 0] } as const;
type Order = keyof typeof ORDERS;

const SIGNS = {
  vfmadd: 0,
  vfmsub: Fused.NegateAddend,
  vfnmadd: Fused.NegateProduct,
  vfnmsub: Fused.NegateProduct | Fused.NegateAddend,
} as const;

const scalar =
  (order: Order, signs: number, name: 'f32' | 'f64', size: 4 | 8): Semantics =>
  (e) => {
    const { f } = e;
    const source = e.let(e.read(2, size));
    const values = [0, 1, 2].map((n) => (n === 2 ? source : e.let(e.read(n, size))));
    const [a, b, c] = ORDERS[order].map((n) => values[n]);
    const fused = routine<[I64, I64, I64, I64], I64>(e, `${name}_fma`);
    const r = e.let(f.call(fused, f.get(a), f.get(b), f.get(c), f.i64.const(signs)));
    commitFlags(e);
    const rest = readRegisterHalf(e, 0, 0);
    writeRegister(e, 0, [e.letV(replaceElement(f, rest, size, 0, f.get(r)))]);
  };

type Fuse = (e: Emitter, prefix: 'ps' | 'pd', a: Local<V128>, b: Local<V128>, c: Local<V128>) => Local<V128>;

const plain =
  (signs: number): Fuse =>
  (e, prefix, a, b, c) => {
    const { f } = e;
    const fused = routine<[V128, V128, V128, I64], V128>(e, `${prefix}_fma`);
    return e.letV(f.call(fused, f.get(a), f.get(b), f.get(c), f.i64.const(signs)));
  };

/** VFMADDSUB adds in odd elements and subtracts in even ones, VFMSUBADD the other way. Elements that are not its own are zeros to each. */
const alternating =
  (addOdd: boolean): Fuse =>
  (e, prefix, a, b, c) => {
    const { f } = e;
    const { v128 } = f;
    const odd = (): V128 => (prefix === 'pd' ? v128.const(0, 0, -1, -1) : v128.const(0, -1, 0, -1));
    const fused = routine<[V128, V128, V128, I64], V128>(e, `${prefix}_fma`);
    const part = (signs: number, own: (v: V128, mask: V128) => V128): Local<V128> => {
      const [x, y, z] = [a, b, c].map((v) => e.letV(own(f.get(v), odd())));
      return e.letV(f.call(fused, f.get(x), f.get(y), f.get(z), f.i64.const(signs)));
    };
    const inOdd = part(addOdd ? 0 : Fused.NegateAddend, (v, mask) => v128.and(v, mask));
    const inEven = part(addOdd ? Fused.NegateAddend : 0, (v, mask) => v128.andnot(v, mask));
    const left = f.get(inOdd);
    return e.letV(v128.bitselect(left, f.get(inEven), odd()));
  };

const vector =
  (order: Order, fuse: Fuse, prefix: 'ps' | 'pd'): Semantics =>
  (e) => {
    const size = vectorBytes(e);
    const source = readHalves(e, 2, size);
    const values = [readHalves(e, 0, size), readHalves(e, 1, size), source];
    const results = source.map((_, half) => {
      const [a, b, c] = ORDERS[order].map((n) => values[n][half]);
      return fuse(e, prefix, a, b, c);
    });
    commitFlags(e);
    writeRegister(e, 0, results);
  };

/** VCVTPH2PS: four half-precision numbers for each 128 bits of the destination. */
const fromHalves: Semantics = (e) => {
  const { f } = e;
  const { i64 } = f;
  const size = vectorBytes(e);
  const words: Local<I64>[] = [];
  if (e.isMemory(1)) {
    const va = e.address(size / 2, false);
    const host = e.reference(va, size / 2, false);
    for (let n = 0; n < size / 16; n++) words.push(e.let(i64.load(f.get(host), 8 * n)));
  } else for (let n = 0; n < size / 16; n++) words.push(e.let(i64.load(e.registerAddress(1), 8 * n)));
  const convert = routine<[I64], I64>(e, 'f16_to_f32');
  const results = words.map((word) => {
    const r = e.letV(zeroVector(f));
    for (let lane = 0; lane < 4; lane++) {
      const old = f.get(r);
      const half = i64.and(i64.shr_u(f.get(word), i64.const(16 * lane)), i64.const(0xffff));
      f.set(r, replaceElement(f, old, 4, lane, f.call(convert, half)));
    }
    return r;
  });
  commitFlags(e);
  writeRegister(e, 0, results);
};

const toHalves: Semantics = (e) => {
  const { f } = e;
  const { v128, i64 } = f;
  const size = vectorBytes(e);
  const source = readHalves(e, 1, size);
  const control = e.let(e.read(2, 1));
  const convert = routine<[I64, I64], I64>(e, 'f32_to_f16');
  // A store that faults comes before any exception of the numbers' own.
  const host = e.isMemory(0) ? e.reference(e.address(size / 2, true), size / 2, true) : undefined;
  const words = source.map((vector) => {
    const r = e.let(i64.const(0));
    for (let lane = 0; lane < 4; lane++) {
      const single = i64.extend_i32_u(v128.extract_i32('i32x4', f.get(vector), lane));
      const half = i64.shl(f.call(convert, single, f.get(control)), i64.const(16 * lane));
      f.set(r, i64.or(half, f.get(r)));
    }
    return r;
  });
  commitFlags(e);
  if (host) {
    words.forEach((word, n) => {
      i64.store(f.get(host), f.get(word), 8 * n);
    });
    e.commit(host);
    return;
  }
  const low = v128.replace('i64x2', zeroVector(f), 0, f.get(words[0]));
  writeRegister(e, 0, [e.letV(words.length === 2 ? v128.replace('i64x2', low, 1, f.get(words[1])) : low)]);
};

const table: Record<string, Semantics> = { vcvtph2ps: fromHalves, vcvtps2ph: toHalves };
for (const order of Object.keys(ORDERS) as Order[]) {
  for (const [name, signs] of Object.entries(SIGNS)) {
    table[`${name}${order}ss`] = scalar(order, signs, 'f32', 4);
    table[`${name}${order}sd`] = scalar(order, signs, 'f64', 8);
    table[`${name}${order}ps`] = vector(order, plain(signs), 'ps');
    table[`${name}${order}pd`] = vector(order, plain(signs), 'pd');
  }
  for (const prefix of ['ps', 'pd'] as const) {
    table[`vfmaddsub${order}${prefix}`] = vector(order, alternating(true), prefix);
    table[`vfmsubadd${order}${prefix}`] = vector(order, alternating(false), prefix);
  }
}

export const vexFusedSemantics: SemanticsTable = table;
