/**
 * AVX, AVX2, FMA and F16C. Most VEX rows are an SSE instruction with one operand more: theirs are the SSE semantics, by lanes. What has no
 * such counterpart is in the other files of this name.
 */
import { rows } from '../decode/insn.ts';
import { sseSemantics } from './sse.ts';
import { SINGLES } from './sse-float.ts';
import { dotProducts } from './sse41.ts';
import type { Semantics, SemanticsTable } from './types.ts';
import { vexFusedSemantics } from './vex-fused.ts';
import { byLanes } from './vex-lanes.ts';
import { vexMaskedSemantics } from './vex-masked.ts';
import { clearAboveXmm0, vexMoveSemantics } from './vex-move.ts';
import { readHalves, vectorBytes, writeRegister } from './vex-operands.ts';
import { vexPermuteSemantics } from './vex-permute.ts';

/** VDPPS: by halves, but in three steps of which each may raise exceptions in either. */
const dotProduct: Semantics = (e) => {
  const b = readHalves(e, 2, vectorBytes(e));
  const a = readHalves(e, 1, vectorBytes(e));
  const pairs = a.map((half, n) => [half, b[n]] as const);
  writeRegister(e, 0, dotProducts(e, SINGLES, pairs, 3));
};

const OWN: SemanticsTable = {
  ...vexMoveSemantics,
  ...vexPermuteSemantics,
  ...vexMaskedSemantics,
  ...vexFusedSemantics,
  vdpps: dotProduct,
};
/** Names that are not the SSE instruction's with a v before them. */
const COUNTERPARTS: Readonly<Record<string, string>> = { vmovq: 'movq_xmm' };
/** Their results have half as many bytes as their operands. */
const NARROWS = new Set(['vcvtpd2ps', 'vcvtpd2dq', 'vcvttpd2dq']);
const WRITES_XMM0 = new Set(['vpcmpestrm', 'vpcmpistrm']);

const table: Record<string, Semantics> = {};
for (const row of rows) {
  if (!row.vex || row.sem in OWN || row.sem in table) continue;
  const sse = sseSemantics[COUNTERPARTS[row.sem] ?? row.sem.slice(1)];
  if (!sse || !row.sem.startsWith('v')) continue;
  const lanes = byLanes(row, sse, NARROWS.has(row.sem));
  table[row.sem] = WRITES_XMM0.has(row.sem)
    ? (e) => {
        lanes(e);
        clearAboveXmm0(e);
      }
    : lanes;
}

export const vexSemantics: SemanticsTable = { ...table, ...OWN };
