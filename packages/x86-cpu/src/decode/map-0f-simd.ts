/** Two-byte map, MMX and SSE–SSE3 (SDM vol. 2, table A-3). */
import type { OpcodeRow } from './opcodes.ts';
import { parseRows } from './opcodes.ts';

/** `opcode name [feature of the MMX form]`: `name Pq,Qq` without prefix, `name Vdq,Wdq` with 66 (SSE2). */
const MMX_PAIRS = `
  61 punpcklwd; 62 punpckldq; 60 punpcklbw; 63 packsswb; 64 pcmpgtb; 65 pcmpgtw; 66 pcmpgtd; 67 packuswb; 68 punpckhbw; 69 punpckhwd;
  6a punpckhdq; 6b packssdw; 74 pcmpeqb; 75 pcmpeqw; 76 pcmpeqd; d1 psrlw; d2 psrld; d3 psrlq; d4 paddq sse2; d5 pmullw; d8 psubusb;
  d9 psubusw; da pminub sse; db pand; dc paddusb; dd paddusw; de pmaxub sse; df pandn; e0 pavgb sse; e1 psraw; e2 psrad; e3 pavgw sse;
  e4 pmulhuw sse; e5 pmulhw; e8 psubsb; e9 psubsw; ea pminsw sse; eb por; ec paddsb; ed paddsw; ee pmaxsw sse; ef pxor; f1 psllw;
  f2 pslld; f3 psllq; f4 pmuludq sse2; f5 pmaddwd; f6 psadbw sse; f8 psubb; f9 psubw; fa psubd; fb psubq sse2; fc paddb; fd paddw;
  fe paddd
`;

/** The interleave-low forms read only 32 bits of a memory operand in MMX (SDM vol. 2B, PUNPCKLBW). */
export function mmxPairs(list: string, feature: string, xmmFeature: string): string {
  return list
    .split(';')
    .map((entry) => {
      const [opcode = '', name = '', own = feature] = entry.trim().split(/\s+/);
      const source = name.startsWith('punpckl') ? 'Qd' : 'Qq';
      return `np.${opcode} ${name} Pq,${source} @${own}\n66.${opcode} ${name} Vdq,Wdq @${xmmFeature}\n`;
    })
    .join('');
}

/** `opcode name`: the packed and scalar forms ps, pd, ss, sd named by `which`. */
function arithmetic(list: string, which: readonly string[]): string {
  const forms: Readonly<Record<string, string>> = {
    ps: 'np.OP NAMEps Vdq,Wdq @sse\n',
    pd: '66.OP NAMEpd Vdq,Wdq @sse2\n',
    ss: 'f3.OP NAMEss Vss,Wss @sse\n',
    sd: 'f2.OP NAMEsd Vsd,Wsd @sse2\n',
  };
  return list
    .split(';')
    .flatMap((entry) => {
      const [opcode = '', name = ''] = entry.trim().split(' ');
      return which.map((form) => (forms[form] ?? '').replace('OP', opcode).replace('NAME', name));
    })
    .join('');
}

const MOVES = `
  np.10 movups Vdq,Wdq
  66.10 movupd Vdq,Wdq @sse2
  f3.10 movss Vss,Wss
  f2.10 movsd Vsd,Wsd @sse2
  np.11 movups Wdq,Vdq
  66.11 movupd Wdq,Vdq @sse2
  f3.11 movss Wss,Vss
  f2.11 movsd Wsd,Vsd @sse2
  np.12m movlps Vq,Mq
  np.12r movhlps Vdq,Udq
  66.12m movlpd Vq,Mq @sse2
  f3.12 movsldup Vdq,Wdq @sse3
  f2.12 movddup Vdq,Wq @sse3
  np.13m movlps Mq,Vq
  66.13m movlpd Mq,Vq @sse2
  np.16m movhps Vq,Mq
  np.16r movlhps Vdq,Udq
  66.16m movhpd Vq,Mq @sse2
  f3.16 movshdup Vdq,Wdq @sse3
  np.17m movhps Mq,Vq
  66.17m movhpd Mq,Vq @sse2
  np.28 movaps Vdq,Wdq
  66.28 movapd Vdq,Wdq @sse2
  np.29 movaps Wdq,Vdq
  66.29 movapd Wdq,Vdq @sse2
  np.2b movntps Mdq,Vdq
  66.2b movntpd Mdq,Vdq @sse2
  np.6e movd Pq,Ey @mmx
  66.6e movd Vdq,Ey @sse2
  np.6f movq Pq,Qq @mmx
  66.6f movdqa Vdq,Wdq @sse2
  f3.6f movdqu Vdq,Wdq @sse2
  np.7e movd Ey,Pq @mmx
  66.7e movd Ey,Vdq @sse2
  f3.7e movq=movq_xmm Vq,Wq @sse2
  np.7f movq Qq,Pq @mmx
  66.7f movdqa Wdq,Vdq @sse2
  f3.7f movdqu Wdq,Vdq @sse2
  66.d6 movq=movq_xmm Wq,Vq @sse2
  f3.d6r movq2dq Vdq,Nq @sse2
  f2.d6r movdq2q Pq,Uq @sse2
  np.e7 movntq Mq,Pq
  66.e7 movntdq Mdq,Vdq @sse2
  f2.f0 lddqu Vdq,Mdq @sse3
  np.f7r maskmovq BDq,Pq,Nq
  66.f7r maskmovdqu BDdq,Vdq,Udq @sse2
`;

const CONVERSIONS = `
  np.2a cvtpi2ps Vq,Qq
  66.2a cvtpi2pd Vdq,Qq @sse2
  f3.2a cvtsi2ss Vss,Ey
  f2.2a cvtsi2sd Vsd,Ey @sse2
  np.2c cvttps2pi Pq,Wq
  66.2c cvttpd2pi Pq,Wdq @sse2
  f3.2c cvttss2si Gy,Wss
  f2.2c cvttsd2si Gy,Wsd @sse2
  np.2d cvtps2pi Pq,Wq
  66.2d cvtpd2pi Pq,Wdq @sse2
  f3.2d cvtss2si Gy,Wss
  f2.2d cvtsd2si Gy,Wsd @sse2
  np.5a cvtps2pd Vdq,Wq @sse2
  66.5a cvtpd2ps Vdq,Wdq @sse2
  f3.5a cvtss2sd Vsd,Wss @sse2
  f2.5a cvtsd2ss Vss,Wsd @sse2
  np.5b cvtdq2ps Vdq,Wdq @sse2
  66.5b cvtps2dq Vdq,Wdq @sse2
  f3.5b cvttps2dq Vdq,Wdq @sse2
  66.e6 cvttpd2dq Vdq,Wdq @sse2
  f3.e6 cvtdq2pd Vdq,Wq @sse2
  f2.e6 cvtpd2dq Vdq,Wdq @sse2
`;

const REST = `
  np.14 unpcklps Vdq,Wdq
  66.14 unpcklpd Vdq,Wdq @sse2
  np.15 unpckhps Vdq,Wdq
  66.15 unpckhpd Vdq,Wdq @sse2
  np.2e ucomiss Vss,Wss
  66.2e ucomisd Vsd,Wsd @sse2
  np.2f comiss Vss,Wss
  66.2f comisd Vsd,Wsd @sse2
  np.50 movmskps Gy,Udq
  66.50 movmskpd Gy,Udq @sse2
  66.6c punpcklqdq Vdq,Wdq @sse2
  66.6d punpckhqdq Vdq,Wdq @sse2
  np.70 pshufw Pq,Qq,Iub
  66.70 pshufd Vdq,Wdq,Iub @sse2
  f3.70 pshufhw Vdq,Wdq,Iub @sse2
  f2.70 pshuflw Vdq,Wdq,Iub @sse2
  np.71/2 psrlw Nq,Iub @mmx
  np.71/4 psraw Nq,Iub @mmx
  np.71/6 psllw Nq,Iub @mmx
  np.72/2 psrld Nq,Iub @mmx
  np.72/4 psrad Nq,Iub @mmx
  np.72/6 pslld Nq,Iub @mmx
  np.73/2 psrlq Nq,Iub @mmx
  np.73/6 psllq Nq,Iub @mmx
  66.71/2 psrlw Udq,Iub @sse2
  66.71/4 psraw Udq,Iub @sse2
  66.71/6 psllw Udq,Iub @sse2
  66.72/2 psrld Udq,Iub @sse2
  66.72/4 psrad Udq,Iub @sse2
  66.72/6 pslld Udq,Iub @sse2
  66.73/2 psrlq Udq,Iub @sse2
  66.73/3 psrldq Udq,Iub @sse2
  66.73/6 psllq Udq,Iub @sse2
  66.73/7 pslldq Udq,Iub @sse2
  np.77 emms - @mmx
  66.7c haddpd Vdq,Wdq @sse3
  f2.7c haddps Vdq,Wdq @sse3
  66.7d hsubpd Vdq,Wdq @sse3
  f2.7d hsubps Vdq,Wdq @sse3
  np.c2 cmpps Vdq,Wdq,Iub
  66.c2 cmppd Vdq,Wdq,Iub @sse2
  f3.c2 cmpss Vss,Wss,Iub
  f2.c2 cmpsd Vsd,Wsd,Iub @sse2
  np.c4 pinsrw Pq,Ew,Iub
  66.c4 pinsrw Vdq,Ew,Iub @sse2
  np.c5 pextrw Gy,Nq,Iub
  66.c5 pextrw Gy,Udq,Iub @sse2
  np.c6 shufps Vdq,Wdq,Iub
  66.c6 shufpd Vdq,Wdq,Iub @sse2
  66.d0 addsubpd Vdq,Wdq @sse3
  f2.d0 addsubps Vdq,Wdq @sse3
  np.d7 pmovmskb Gy,Nq
  66.d7 pmovmskb Gy,Udq @sse2
`;

export function map0fSimdRows(): OpcodeRow[] {
  const all = ['ps', 'pd', 'ss', 'sd'];
  const text =
    MOVES +
    CONVERSIONS +
    REST +
    mmxPairs(MMX_PAIRS, 'mmx', 'sse2') +
    arithmetic('51 sqrt;58 add;59 mul;5c sub;5d min;5e div;5f max', all) +
    arithmetic('52 rsqrt;53 rcp', ['ps', 'ss']) +
    arithmetic('54 and;55 andn;56 or;57 xor', ['ps', 'pd']);
  return parseRows(1, false, 'sse', text);
}
