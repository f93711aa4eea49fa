/**
 * The routines SSE's exact path calls, by name. Scalars are encodings in i64; vectors are v128.
 *
 * - `f64_add`, `f32_mul`, …: (a, b) → result; `…_sqrt`, `f32_rcp`, `f32_rsqrt`: (a); `…_round`: (a, immediate)
 * - `f64_compare`: (a, b, signaling) → `Ordering`; `f64_predicate`: (a, b, predicate) → mask
 * - `f64_fma`, `f32_fma`: (a, b, c, `Fused` bits) → ±a·b ± c
 * - `f16_to_f32`; `f32_to_f16`: (a, immediate)
 * - `f64_to_f32`, `f32_to_f64`, `int_to_f64`, `int_to_f32`; `f64_to_int`, `f32_to_int`: (a, `ToInt` bits)
 * - `ps_add`, `pd_add`, …: the same on vectors; `ps_predicate`: (a, b, predicate as i64)
 * - `float_commit`: () → i32: moves the flags raised since the last call to MXCSR; non-zero if one of them is unmasked
 *
 * Results are to be discarded when `float_commit` says so.
 */
import type { FuncRef, FunctionBuilder, GlobalRef, I32, I64, Local, ModuleBuilder, V128 } from '@tsvisor/wasm-codegen';
import { CPU } from '../state.ts';
import type { FormatParts } from './float-arithmetic.ts';
import {
  addRoutine,
  compareRoutine,
  divRoutine,
  formatParts,
  minMaxRoutine,
  mulRoutine,
  predicateRoutine,
  sharedParts,
  sqrtRoutine,
  subRoutine,
} from './float-arithmetic.ts';
import {
  approximationRoutine,
  fromIntRoutine,
  narrowRoutine,
  roundRoutine,
  toIntFromSingle,
  toIntRoutine,
  widenRoutine,
} from './float-convert.ts';
import type { FloatFormat, FloatModule } from './float-format.ts';
import { F16_FORMAT, F32_FORMAT, F64_FORMAT, FloatFlag } from './float-format.ts';
import { fusedRoutine } from './float-fused.ts';
import { fromHalfRoutine, toHalfRoutine } from './float-half.ts';
import { replaceElement } from './vector-element.ts';

type Scalar = FuncRef<I64[], I64>;
/** A routine of any signature; callers name the one they expect. */
export type AnyRoutine = FuncRef<never, unknown>;

/** Lanes as the scalar routines take them. */
const lane = (f: FunctionBuilder, fmt: FloatFormat, vector: Local<V128>, n: number): I64 =>
  fmt.name === 'f64' ? f.v128.extract_i64(f.get(vector), n) : f.i64.extend_i32_u(f.v128.extract_i32('i32x4', f.get(vector), n));

/** A vector routine that calls a scalar one lane by lane, lowest first. */
function packedRoutine(
  home: FloatModule,
  fmt: FloatFormat,
  name: string,
  scalar: Scalar,
  vectors: number,
  scalars = 0,
): AnyRoutine {
  const short = fmt.name === 'f64' ? 'pd' : 'ps';
  const params = [...new Array<'v128'>(vectors).fill('v128'), ...new Array<'i64'>(scalars).fill('i64')];
  const f = home.module.function(`${short}_${name}`, params, ['v128']);
  const result = f.local('v128');
  const operands = Array.from({ length: vectors }, (_, n) => f.param(n, 'v128'));
  const extra = Array.from({ length: scalars }, (_, n) => f.param(vectors + n, 'i64'));
  for (let n = 0; n < (fmt.name === 'f64' ? 2 : 4); n++) {
    const old = f.get(result);
    const value = f.call(scalar, ...operands.map((v) => lane(f, fmt, v, n)), ...extra.map((v) => f.get(v)));
    f.set(result, replaceElement(f, old, fmt.name === 'f64' ? 8 : 4, n, value));
  }
  f.get(result);
  return f.ref<never, V128>();
}

function commitRoutine(home: FloatModule): AnyRoutine {
  const f = home.module.function('float_commit', [], ['i32']);
  const { i32 } = f;
  const [flags, mxcsr, unmasked] = [f.local('i32'), f.local('i32'), f.local('i32')];
  f.set(flags, f.globalGet(home.raised));
  f.globalSet(home.raised, i32.const(0));
  f.set(mxcsr, i32.load(f.globalGet(home.cpu), CPU.offset.mxcsr));
  const masks = i32.shr_u(f.get(mxcsr), i32.const(7));
  f.set(unmasked, i32.and(i32.xor(masks, i32.const(0x3f)), f.get(flags)));
  // An unmasked pre-computation exception in any lane keeps every lane from being computed (SDM vol. 1 §11.5.3).
  const early = FloatFlag.IE | FloatFlag.DE | FloatFlag.ZE;
  f.if(i32.and(f.get(unmasked), i32.const(early)), () => f.set(flags, i32.and(f.get(flags), i32.const(early))));
  i32.store(f.globalGet(home.cpu), i32.or(f.get(mxcsr), f.get(flags)), CPU.offset.mxcsr);
  f.get(unmasked);
  return f.ref<never, I32>();
}

function formatRoutines(home: FloatModule, fmt: FloatFormat, parts: FormatParts, out: Map<string, AnyRoutine>): void {
  const add = addRoutine(home, fmt, parts);
  const compare = compareRoutine(home, fmt);
  const routines: Record<string, readonly [Scalar, vectors: number, scalars?: number]> = {
    add: [add as Scalar, 2],
    sub: [subRoutine(home, fmt, add) as Scalar, 2],
    mul: [mulRoutine(home, fmt, parts) as Scalar, 2],
    div: [divRoutine(home, fmt, parts) as Scalar, 2],
    min: [minMaxRoutine(home, fmt, 'min') as Scalar, 2],
    max: [minMaxRoutine(home, fmt, 'max') as Scalar, 2],
    sqrt: [sqrtRoutine(home, fmt, parts) as Scalar, 1],
    round: [roundRoutine(home, fmt, parts) as Scalar, 1, 1],
    predicate: [predicateRoutine(home, fmt, compare) as Scalar, 2, 1],
    fma: [fusedRoutine(home, fmt, parts) as Scalar, 3, 1],
  };
  if (fmt.name === 'f32') {
    routines.rcp = [approximationRoutine(home, 'rcp') as Scalar, 1];
    routines.rsqrt = [approximationRoutine(home, 'rsqrt') as Scalar, 1];
  }
  out.set(`${fmt.name}_compare`, compare);
  out.set(`int_to_${fmt.name}`, fromIntRoutine(home, fmt, parts));
  for (const [name, [scalar, vectors, scalars]] of Object.entries(routines)) {
    out.set(`${fmt.name}_${name}`, scalar);
    out.set(`${fmt.name === 'f64' ? 'pd' : 'ps'}_${name}`, packedRoutine(home, fmt, name, scalar, vectors, scalars));
  }
}

/** Adds the routines to a module under construction; `cpu` is the address of the processor state. */
export function addFloatRoutines(module: ModuleBuilder, cpu: GlobalRef<I32>): Map<string, AnyRoutine> {
  const home: FloatModule = { module, cpu, raised: module.global('i32') };
  const shared = sharedParts(home);
  const f32 = formatParts(home, F32_FORMAT, shared);
  const f64 = formatParts(home, F64_FORMAT, shared);
  const f16 = formatParts(home, F16_FORMAT, shared);
  const out = new Map<string, AnyRoutine>();
  formatRoutines(home, F32_FORMAT, f32, out);
  formatRoutines(home, F64_FORMAT, f64, out);
  const toInt = toIntRoutine(home);
  out.set('f64_to_int', toInt);
  out.set('f32_to_int', toIntFromSingle(home, toInt));
  out.set('f64_to_f32', narrowRoutine(home, f64, f32));
  out.set('f32_to_f64', widenRoutine(home));
  out.set('f16_to_f32', fromHalfRoutine(home, f16));
  out.set('f32_to_f16', toHalfRoutine(home, f32, f16));
  out.set('float_commit', commitRoutine(home));
  return out;
}
