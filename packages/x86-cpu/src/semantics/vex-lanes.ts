/**
 * VEX instructions that are an SSE instruction with a destination of its own, done once for each 128 bits: their semantics are the SSE
 * instruction's, run on a `LaneEmitter`.
 */
import type { I32, Local, V128 } from '@tsvisor/wasm-codegen';
import type { OpcodeRow } from '../decode/opcodes.ts';
import { Size } from '../decode/operand-spec.ts';
import type { Emitter } from '../emit/emitter.ts';
import { LaneEmitter } from '../emit/lane-emitter.ts';
import { commitFlags } from './sse-float.ts';
import { zeroVector } from './sse-operands.ts';
import type { Semantics } from './types.ts';
import { isVectorRegister, memoryOperand, vectorBytes, writeRegister } from './vex-operands.ts';

/** By how many bits the upper lane's part of the immediate is above the lower one's; where it is not listed, both use the same. */
const IMMEDIATE_SHIFT: Readonly<Record<string, number>> = { vmpsadbw: 3, vblendps: 4, vblendpd: 2, vshufpd: 2 };

/** Sizes that grow with the vector: lanes share such an operand out. */
const SHARED: ReadonlySet<number> = new Set([Size.X, Size.Half, Size.Quarter, Size.Eighth, 32]);

/** Two results of which only the low halves count become one (VCVTPD2PS and its kin, on 256 bits). */
const LOW_HALVES = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23] as const;

function lanes(e: Emitter, sse: Semantics, count: number, at: Omit<ConstructorParameters<typeof LaneEmitter>[1], 'lane'>) {
  const results: Local<V128>[] = [];
  for (let n = 0; n < count; n++) {
    const lane = new LaneEmitter(e, { ...at, lane: n as 0 | 1 });
    sse(lane);
    const result = lane.result();
    if (result) results.push(e.letV(result));
  }
  return results;
}

/** Semantics of a VEX row from those of its SSE counterpart. `narrows`: the destination has half as many bytes as the source. */
export function byLanes(row: OpcodeRow, sse: Semantics, narrows = false): Semantics {
  // The first source is named by VEX.vvvv, or (shifts by an immediate) the destination is.
  const offset = row.operands[0]?.startsWith('H') || row.operands[1]?.startsWith('H') ? 1 : 0;
  return (e) => {
    const { f } = e;
    if (!isVectorRegister(e, 0)) {
      sse(e);
      return;
    }
    const places = Array.from({ length: e.form.classes.length - offset }, (_, n) => n + offset);
    // Every row of one mnemonic shares out the same operands.
    const shared = places.map((place) => SHARED.has(e.size(place) === 32 ? 32 : (row.specs[place]?.size ?? 0)));
    const memory = e.form.classes.indexOf('m');
    const host: Local<I32> | undefined = memory > 0 ? memoryOperand(e, memory) : undefined;
    const vector = vectorBytes(e);
    const wide = vector === 32 && shared.some(Boolean);
    const raised = wide ? e.let32(f.i32.const(0)) : undefined;
    const immediateShift = IMMEDIATE_SHIFT[row.sem] ?? 0;
    const results = lanes(e, sse, wide ? 2 : 1, { places, shared, vector, host, immediateShift, raised });
    if (raised) f.if(f.get(raised), () => commitFlags(e));
    if (results.length === 0) return;
    if (!narrows) writeRegister(e, 0, results);
    else if (wide) writeRegister(e, 0, [e.letV(f.v128.shuffle(f.get(results[0]), f.get(results[1]), LOW_HALVES))]);
    else {
      const low = f.v128.shuffle(f.get(results[0]), zeroVector(f), LOW_HALVES);
      writeRegister(e, 0, [e.letV(low)]);
    }
  };
}
