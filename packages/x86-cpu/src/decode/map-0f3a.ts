/** Map 0F 3A without VEX (SDM vol. 2, table A-5). */
import type { OpcodeRow } from './opcodes.ts';
import { parseRows } from './opcodes.ts';

const ROWS = `
  66.08 roundps Vdq,Wdq,Iub
  66.09 roundpd Vdq,Wdq,Iub
  66.0a roundss Vss,Wss,Iub
  66.0b roundsd Vsd,Wsd,Iub
  66.0c blendps Vdq,Wdq,Iub
  66.0d blendpd Vdq,Wdq,Iub
  66.0e pblendw Vdq,Wdq,Iub
  np.0f palignr Pq,Qq,Iub @ssse3
  66.0f palignr Vdq,Wdq,Iub @ssse3
  66.14m pextrb Mb,Vdq,Iub
  66.14r pextrb Ry,Vdq,Iub
  66.15m pextrw Mw,Vdq,Iub
  66.15r pextrw Ry,Vdq,Iub
  66.16 pextrd Ey,Vdq,Iub
  66.17m extractps Md,Vdq,Iub
  66.17r extractps Ry,Vdq,Iub
  66.20m pinsrb Vdq,Mb,Iub
  66.20r pinsrb Vdq,Rd,Iub
  66.21 insertps Vdq,Wd,Iub
  66.22 pinsrd Vdq,Ey,Iub
  66.40 dpps Vdq,Wdq,Iub
  66.41 dppd Vdq,Wdq,Iub
  66.42 mpsadbw Vdq,Wdq,Iub
  66.44 pclmulqdq Vdq,Wdq,Iub @pclmulqdq
  66.60 pcmpestrm Vdq,Wdq,Iub @sse4_2
  66.61 pcmpestri Vdq,Wdq,Iub @sse4_2
  66.62 pcmpistrm Vdq,Wdq,Iub @sse4_2
  66.63 pcmpistri Vdq,Wdq,Iub @sse4_2
  np.cc sha1rnds4 Vdq,Wdq,Iub @sha
  66.df aeskeygenassist Vdq,Wdq,Iub @aes
`;

export function map0f3aRows(): OpcodeRow[] {
  return parseRows(3, false, 'sse4_1', ROWS);
}
