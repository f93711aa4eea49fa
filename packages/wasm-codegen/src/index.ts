export { OperandOrderError } from './checked.ts';
export type { FuncRef, GlobalRef, Label } from './function.ts';
export { FunctionBuilder } from './function.ts';
export type { Limits } from './module.ts';
export { ModuleBuilder } from './module.ts';
export { F32Ops, F64Ops, I32Ops, I64Ops, V128Ops } from './ops.ts';
export type { AnyValue, F32, F64, FuncType, I32, I64, Local, TokenOf, V128, ValTypeName, Value } from './types.ts';
export { ValType } from './types.ts';
export { Writer } from './writer.ts';
