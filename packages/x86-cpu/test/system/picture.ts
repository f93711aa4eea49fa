/** What a program can see of a machine, for comparing two ways of running it. */
import { CPU } from '../../src/state.ts';
import type { EngineMachine } from './engine.ts';

/** The engine's own book-keeping: differs by the way taken. */
const INTERNAL = new Set(
  (
    'jumpTag userTag kernelTag userKey kernelKey fastCalls fastEvents fastFlat32 kernelLocal codeFilter deliveries exitRequest exitReason ' +
    'exitRecord budget faulted faultVector faultError faultHasError pageRip helper scratch scratchVa scratchSize flagResult flagCarry ' +
    'flagAux rflags interruptShadow shadowRip restart compiled'
  ).split(' '),
);

/** Everything architectural, and ranges of memory. */
export function picture(machine: EngineMachine, reason: string, ranges: readonly (readonly [number, number])[]): object {
  const { state, context } = { state: machine.state, context: machine.processor.context };
  const fields = Object.keys(CPU.schema).filter((name) => !INTERNAL.has(name));
  const values = fields.map((name) => {
    const value: unknown = state[name as keyof typeof state];
    return [name, ArrayBuffer.isView(value) ? Array.from(value as Uint32Array | BigUint64Array, String) : String(value)];
  });
  const bytes = ([from, to]: readonly [number, number]): string => {
    const memory = new Uint8Array(to - from);
    machine.guest.read(from, memory);
    return Buffer.from(memory).toString('latin1');
  };
  return { reason, ...Object.fromEntries(values), rflags: context.rflags, memory: ranges.map(bytes) };
}
