/**
 * Value types. A builder method that pushes a value returns a token of the value's type; a method that pops values takes tokens.
 * The tokens carry nothing at run time: JavaScript evaluates arguments left to right, which is the order in which WebAssembly
 * wants the operands pushed, so `i64.add(get(a), get(b))` emits `local.get a, local.get b, i64.add` and the TypeScript compiler
 * checks the operand types.
 */
declare const value: unique symbol;
export type Value<T extends string> = { readonly [value]: T };
export type I32 = Value<'i32'>;
export type I64 = Value<'i64'>;
export type F32 = Value<'f32'>;
export type F64 = Value<'f64'>;
export type V128 = Value<'v128'>;

/** Encodings of the value types (core specification §5.3.1). */
export const ValType = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type ValTypeName = keyof typeof ValType;
export type TokenOf<N extends ValTypeName> = Value<N>;
export type AnyValue = Value<ValTypeName>;

/** A local variable or parameter of a function. */
export type Local<T extends AnyValue = AnyValue> = { readonly index: number; readonly type: ValTypeName; readonly token?: T };

export type FuncType = { readonly params: readonly ValTypeName[]; readonly results: readonly ValTypeName[] };

const token = Object.freeze({});
/** The one run-time object behind every token. */
export const anyToken = token as never;
