import type { Emitter } from '../emit/emitter.ts';

/** The semantics of one instruction: emits WebAssembly through the context it is given. */
export type Semantics = (e: Emitter) => void;

/** Semantics by the opcode table's `sem` key. */
export type SemanticsTable = Readonly<Record<string, Semantics>>;
