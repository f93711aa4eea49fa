/** VEX-encoded rows of maps 0F, 0F38 and 0F3A (SDM vol. 2, chapters 3–5, instruction pages; §2.3 for the encoding). */
import type { OpcodeRow } from './opcodes.ts';
import { parseRows } from './opcodes.ts';

/** Integer forms: 128 bits are AVX, 256 bits AVX2. Each line gives two rows. */
function integer(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => `${line} l0 @avx\n${line} l1 @avx2\n`)
    .join('');
}

/** `opcode name` lists of `66.opcode name Vx,Hx,Wx` integer rows. */
function integerTriples(list: string): string {
  return integer(
    list
      .split(';')
      .map((entry) => entry.trim().split(' '))
      .map(([opcode, name]) => `66.${opcode} ${name} Vx,Hx,Wx`)
      .join('\n'),
  );
}

function floats(list: string, which: readonly string[]): string {
  const forms: Readonly<Record<string, string>> = {
    ps: 'np.OP NAMEps Vx,Hx,Wx\n',
    pd: '66.OP NAMEpd Vx,Hx,Wx\n',
    ss: 'f3.OP NAMEss Vss,Hss,Wss\n',
    sd: 'f2.OP NAMEsd Vsd,Hsd,Wsd\n',
  };
  return list
    .split(';')
    .flatMap((entry) => {
      const [opcode = '', name = ''] = entry.trim().split(' ');
      return which.map((form) => (forms[form] ?? '').replace('OP', opcode).replace('NAME', name));
    })
    .join('');
}

const MAP_0F_INTEGER = `
  60 vpunpcklbw;61 vpunpcklwd;62 vpunpckldq;63 vpacksswb;64 vpcmpgtb;65 vpcmpgtw;66 vpcmpgtd;67 vpackuswb;68 vpunpckhbw;69 vpunpckhwd;
  6a vpunpckhdq;6b vpackssdw;6c vpunpcklqdq;6d vpunpckhqdq;74 vpcmpeqb;75 vpcmpeqw;76 vpcmpeqd;d4 vpaddq;d5 vpmullw;d8 vpsubusb;
  d9 vpsubusw;da vpminub;db vpand;dc vpaddusb;dd vpaddusw;de vpmaxub;df vpandn;e0 vpavgb;e3 vpavgw;e4 vpmulhuw;e5 vpmulhw;e8 vpsubsb;
  e9 vpsubsw;ea vpminsw;eb vpor;ec vpaddsb;ed vpaddsw;ee vpmaxsw;ef vpxor;f4 vpmuludq;f5 vpmaddwd;f6 vpsadbw;f8 vpsubb;f9 vpsubw;
  fa vpsubd;fb vpsubq;fc vpaddb;fd vpaddw;fe vpaddd`;

const MAP_0F_INTEGER_REST = `
  66.70 vpshufd Vx,Wx,Iub
  f3.70 vpshufhw Vx,Wx,Iub
  f2.70 vpshuflw Vx,Wx,Iub
  66.71/2 vpsrlw Hx,Ux,Iub
  66.71/4 vpsraw Hx,Ux,Iub
  66.71/6 vpsllw Hx,Ux,Iub
  66.72/2 vpsrld Hx,Ux,Iub
  66.72/4 vpsrad Hx,Ux,Iub
  66.72/6 vpslld Hx,Ux,Iub
  66.73/2 vpsrlq Hx,Ux,Iub
  66.73/3 vpsrldq Hx,Ux,Iub
  66.73/6 vpsllq Hx,Ux,Iub
  66.73/7 vpslldq Hx,Ux,Iub
  66.d1 vpsrlw Vx,Hx,Wdq
  66.d2 vpsrld Vx,Hx,Wdq
  66.d3 vpsrlq Vx,Hx,Wdq
  66.e1 vpsraw Vx,Hx,Wdq
  66.e2 vpsrad Vx,Hx,Wdq
  66.f1 vpsllw Vx,Hx,Wdq
  66.f2 vpslld Vx,Hx,Wdq
  66.f3 vpsllq Vx,Hx,Wdq
  66.d7 vpmovmskb Gy,Ux
`;

const MAP_0F = `
  np.10 vmovups Vx,Wx
  66.10 vmovupd Vx,Wx
  f3.10m vmovss Vss,Mss
  f3.10r vmovss Vss,Hss,Uss
  f2.10m vmovsd Vsd,Msd
  f2.10r vmovsd Vsd,Hsd,Usd
  np.11 vmovups Wx,Vx
  66.11 vmovupd Wx,Vx
  f3.11m vmovss Mss,Vss
  f3.11r vmovss Uss,Hss,Vss
  f2.11m vmovsd Msd,Vsd
  f2.11r vmovsd Usd,Hsd,Vsd
  np.12m vmovlps Vdq,Hdq,Mq l0
  np.12r vmovhlps Vdq,Hdq,Udq l0
  66.12m vmovlpd Vdq,Hdq,Mq l0
  f3.12 vmovsldup Vx,Wx
  f2.12 vmovddup Vdq,Wq l0
  f2.12 vmovddup Vqq,Wqq l1
  np.13m vmovlps Mq,Vq l0
  66.13m vmovlpd Mq,Vq l0
  np.16m vmovhps Vdq,Hdq,Mq l0
  np.16r vmovlhps Vdq,Hdq,Udq l0
  66.16m vmovhpd Vdq,Hdq,Mq l0
  f3.16 vmovshdup Vx,Wx
  np.17m vmovhps Mq,Vq l0
  66.17m vmovhpd Mq,Vq l0
  np.28 vmovaps Vx,Wx
  66.28 vmovapd Vx,Wx
  np.29 vmovaps Wx,Vx
  66.29 vmovapd Wx,Vx
  f3.2a vcvtsi2ss Vss,Hss,Ey
  f2.2a vcvtsi2sd Vsd,Hsd,Ey
  np.2b vmovntps Mx,Vx
  66.2b vmovntpd Mx,Vx
  f3.2c vcvttss2si Gy,Wss
  f2.2c vcvttsd2si Gy,Wsd
  f3.2d vcvtss2si Gy,Wss
  f2.2d vcvtsd2si Gy,Wsd
  np.2e vucomiss Vss,Wss
  66.2e vucomisd Vsd,Wsd
  np.2f vcomiss Vss,Wss
  66.2f vcomisd Vsd,Wsd
  np.50 vmovmskps Gy,Ux
  66.50 vmovmskpd Gy,Ux
  np.51 vsqrtps Vx,Wx
  66.51 vsqrtpd Vx,Wx
  f3.51 vsqrtss Vss,Hss,Wss
  f2.51 vsqrtsd Vsd,Hsd,Wsd
  np.52 vrsqrtps Vx,Wx
  f3.52 vrsqrtss Vss,Hss,Wss
  np.53 vrcpps Vx,Wx
  f3.53 vrcpss Vss,Hss,Wss
  np.5a vcvtps2pd Vx,Wxh
  66.5a vcvtpd2ps Vdq,Wx
  f3.5a vcvtss2sd Vsd,Hsd,Wss
  f2.5a vcvtsd2ss Vss,Hss,Wsd
  np.5b vcvtdq2ps Vx,Wx
  66.5b vcvtps2dq Vx,Wx
  f3.5b vcvttps2dq Vx,Wx
  66.6e vmovd Vdq,Ey l0
  66.6f vmovdqa Vx,Wx
  f3.6f vmovdqu Vx,Wx
  np.77 vzeroupper - l0
  np.77 vzeroall - l1
  66.7c vhaddpd Vx,Hx,Wx
  f2.7c vhaddps Vx,Hx,Wx
  66.7d vhsubpd Vx,Hx,Wx
  f2.7d vhsubps Vx,Hx,Wx
  66.7e vmovd Ey,Vdq l0
  f3.7e vmovq Vq,Wq l0
  66.7f vmovdqa Wx,Vx
  f3.7f vmovdqu Wx,Vx
  np.ae/2m vldmxcsr Md l0
  np.ae/3m vstmxcsr Md l0
  np.c2 vcmpps Vx,Hx,Wx,Iub
  66.c2 vcmppd Vx,Hx,Wx,Iub
  f3.c2 vcmpss Vss,Hss,Wss,Iub
  f2.c2 vcmpsd Vsd,Hsd,Wsd,Iub
  66.c4 vpinsrw Vdq,Hdq,Ew,Iub l0
  66.c5 vpextrw Gy,Udq,Iub l0
  np.c6 vshufps Vx,Hx,Wx,Iub
  66.c6 vshufpd Vx,Hx,Wx,Iub
  66.d0 vaddsubpd Vx,Hx,Wx
  f2.d0 vaddsubps Vx,Hx,Wx
  66.d6 vmovq Wq,Vq l0
  66.e6 vcvttpd2dq Vdq,Wx
  f3.e6 vcvtdq2pd Vx,Wxh
  f2.e6 vcvtpd2dq Vdq,Wx
  66.e7 vmovntdq Mx,Vx
  f2.f0 vlddqu Vx,Mx
  66.f7r vmaskmovdqu BDdq,Vdq,Udq l0
`;

const MAP_0F38_INTEGER = `
  00 vpshufb;01 vphaddw;02 vphaddd;03 vphaddsw;04 vpmaddubsw;05 vphsubw;06 vphsubd;07 vphsubsw;08 vpsignb;09 vpsignw;0a vpsignd;
  0b vpmulhrsw;28 vpmuldq;29 vpcmpeqq;2b vpackusdw;37 vpcmpgtq;38 vpminsb;39 vpminsd;3a vpminuw;3b vpminud;3c vpmaxsb;3d vpmaxsd;
  3e vpmaxuw;3f vpmaxud;40 vpmulld`;

const MAP_0F38_INTEGER_REST = `
  66.1c vpabsb Vx,Wx
  66.1d vpabsw Vx,Wx
  66.1e vpabsd Vx,Wx
  66.20 vpmovsxbw Vx,Wxh
  66.21 vpmovsxbd Vx,Wxq
  66.22 vpmovsxbq Vx,Wxe
  66.23 vpmovsxwd Vx,Wxh
  66.24 vpmovsxwq Vx,Wxq
  66.25 vpmovsxdq Vx,Wxh
  66.2a vmovntdqa Vx,Mx
  66.30 vpmovzxbw Vx,Wxh
  66.31 vpmovzxbd Vx,Wxq
  66.32 vpmovzxbq Vx,Wxe
  66.33 vpmovzxwd Vx,Wxh
  66.34 vpmovzxwq Vx,Wxq
  66.35 vpmovzxdq Vx,Wxh
`;

const MAP_0F38 = `
  66.0c vpermilps Vx,Hx,Wx w0
  66.0d vpermilpd Vx,Hx,Wx w0
  66.0e vtestps Vx,Wx w0
  66.0f vtestpd Vx,Wx w0
  66.13 vcvtph2ps Vx,Wxh w0 @f16c
  66.16 vpermps Vqq,Hqq,Wqq l1 w0 @avx2
  66.17 vptest Vx,Wx
  66.18m vbroadcastss Vx,Md w0
  66.18r vbroadcastss Vx,Ud w0 @avx2
  66.19m vbroadcastsd Vqq,Mq l1 w0
  66.19r vbroadcastsd Vqq,Uq l1 w0 @avx2
  66.1am vbroadcastf128 Vqq,Mdq l1 w0
  66.2c vmaskmovps Vx,Hx,Mx w0
  66.2d vmaskmovpd Vx,Hx,Mx w0
  66.2e vmaskmovps Mx,Hx,Vx w0
  66.2f vmaskmovpd Mx,Hx,Vx w0
  66.36 vpermd Vqq,Hqq,Wqq l1 w0 @avx2
  66.41 vphminposuw Vdq,Wdq l0
  66.45 vpsrlvd Vx,Hx,Wx w0 @avx2
  66.45 vpsrlvq Vx,Hx,Wx w1 @avx2
  66.46 vpsravd Vx,Hx,Wx w0 @avx2
  66.47 vpsllvd Vx,Hx,Wx w0 @avx2
  66.47 vpsllvq Vx,Hx,Wx w1 @avx2
  66.58 vpbroadcastd Vx,Wd w0 @avx2
  66.59 vpbroadcastq Vx,Wq w0 @avx2
  66.5am vbroadcasti128 Vqq,Mdq l1 w0 @avx2
  66.78 vpbroadcastb Vx,Wb w0 @avx2
  66.79 vpbroadcastw Vx,Ww w0 @avx2
  66.8c vpmaskmovd Vx,Hx,Mx w0 @avx2
  66.8c vpmaskmovq Vx,Hx,Mx w1 @avx2
  66.8e vpmaskmovd Mx,Hx,Vx w0 @avx2
  66.8e vpmaskmovq Mx,Hx,Vx w1 @avx2
  66.90 vpgatherdd Vx,Md,Hx w0 vsib @avx2
  66.90 vpgatherdq Vx,Mq,Hx w1 vsib @avx2
  66.91 vpgatherqd Vdq,Md,Hdq w0 vsib @avx2
  66.91 vpgatherqq Vx,Mq,Hx w1 vsib @avx2
  66.92 vgatherdps Vx,Md,Hx w0 vsib @avx2
  66.92 vgatherdpd Vx,Mq,Hx w1 vsib @avx2
  66.93 vgatherqps Vdq,Md,Hdq w0 vsib @avx2
  66.93 vgatherqpd Vx,Mq,Hx w1 vsib @avx2
  66.db vaesimc Vdq,Wdq l0 @aes
  66.dc vaesenc Vdq,Hdq,Wdq l0 @aes
  66.dd vaesenclast Vdq,Hdq,Wdq l0 @aes
  66.de vaesdec Vdq,Hdq,Wdq l0 @aes
  66.df vaesdeclast Vdq,Hdq,Wdq l0 @aes
  np.f2 andn Gy,By,Ey l0 @bmi1
  np.f3/1 blsr By,Ey l0 @bmi1
  np.f3/2 blsmsk By,Ey l0 @bmi1
  np.f3/3 blsi By,Ey l0 @bmi1
  np.f5 bzhi Gy,Ey,By l0 @bmi2
  f3.f5 pext Gy,By,Ey l0 @bmi2
  f2.f5 pdep Gy,By,Ey l0 @bmi2
  f2.f6 mulx Gy,By,Ey l0 @bmi2
  np.f7 bextr Gy,Ey,By l0 @bmi1
  66.f7 shlx Gy,Ey,By l0 @bmi2
  f3.f7 sarx Gy,Ey,By l0 @bmi2
  f2.f7 shrx Gy,Ey,By l0 @bmi2
`;

/** FMA3: the low digit names the operation, the high digit (9, A, B) the operand order (SDM vol. 2C, VFMADD132PD ff.). */
function fma(): string {
  const orders = [
    ['9', '132'],
    ['a', '213'],
    ['b', '231'],
  ] as const;
  const packed = [
    ['6', 'addsub'],
    ['7', 'subadd'],
    ['8', 'add'],
    ['a', 'sub'],
    ['c', 'nadd'],
    ['e', 'nsub'],
  ] as const;
  const scalar = [
    ['9', 'add'],
    ['b', 'sub'],
    ['d', 'nadd'],
    ['f', 'nsub'],
  ] as const;
  const name = (op: string): string => (op.startsWith('n') ? `vfnm${op.slice(1)}` : `vfm${op}`);
  let text = '';
  for (const [high, order] of orders) {
    for (const [low, op] of packed) {
      text += `66.${high}${low} ${name(op)}${order}ps Vx,Hx,Wx w0\n66.${high}${low} ${name(op)}${order}pd Vx,Hx,Wx w1\n`;
    }
    for (const [low, op] of scalar) {
      text += `66.${high}${low} ${name(op)}${order}ss Vss,Hss,Wss w0\n66.${high}${low} ${name(op)}${order}sd Vsd,Hsd,Wsd w1\n`;
    }
  }
  return text;
}

const MAP_0F3A_INTEGER = `
  66.0e vpblendw Vx,Hx,Wx,Iub
  66.0f vpalignr Vx,Hx,Wx,Iub
  66.42 vmpsadbw Vx,Hx,Wx,Iub
  66.4c vpblendvb Vx,Hx,Wx,Lx w0
`;

const MAP_0F3A = `
  66.00 vpermq Vqq,Wqq,Iub l1 w1 @avx2
  66.01 vpermpd Vqq,Wqq,Iub l1 w1 @avx2
  66.02 vpblendd Vx,Hx,Wx,Iub w0 @avx2
  66.04 vpermilps Vx,Wx,Iub w0
  66.05 vpermilpd Vx,Wx,Iub w0
  66.06 vperm2f128 Vqq,Hqq,Wqq,Iub l1 w0
  66.08 vroundps Vx,Wx,Iub
  66.09 vroundpd Vx,Wx,Iub
  66.0a vroundss Vss,Hss,Wss,Iub
  66.0b vroundsd Vsd,Hsd,Wsd,Iub
  66.0c vblendps Vx,Hx,Wx,Iub
  66.0d vblendpd Vx,Hx,Wx,Iub
  66.14m vpextrb Mb,Vdq,Iub l0
  66.14r vpextrb Ry,Vdq,Iub l0
  66.15m vpextrw Mw,Vdq,Iub l0
  66.15r vpextrw Ry,Vdq,Iub l0
  66.16 vpextrd Ey,Vdq,Iub l0
  66.17m vextractps Md,Vdq,Iub l0
  66.17r vextractps Ry,Vdq,Iub l0
  66.18 vinsertf128 Vqq,Hqq,Wdq,Iub l1 w0
  66.19 vextractf128 Wdq,Vqq,Iub l1 w0
  66.1d vcvtps2ph Wxh,Vx,Iub w0 @f16c
  66.20m vpinsrb Vdq,Hdq,Mb,Iub l0
  66.20r vpinsrb Vdq,Hdq,Rd,Iub l0
  66.21 vinsertps Vdq,Hdq,Wd,Iub l0
  66.22 vpinsrd Vdq,Hdq,Ey,Iub l0
  66.38 vinserti128 Vqq,Hqq,Wdq,Iub l1 w0 @avx2
  66.39 vextracti128 Wdq,Vqq,Iub l1 w0 @avx2
  66.40 vdpps Vx,Hx,Wx,Iub
  66.41 vdppd Vdq,Hdq,Wdq,Iub l0
  66.44 vpclmulqdq Vdq,Hdq,Wdq,Iub l0 @pclmulqdq
  66.46 vperm2i128 Vqq,Hqq,Wqq,Iub l1 w0 @avx2
  66.4a vblendvps Vx,Hx,Wx,Lx w0
  66.4b vblendvpd Vx,Hx,Wx,Lx w0
  66.60 vpcmpestrm Vdq,Wdq,Iub l0
  66.61 vpcmpestri Vdq,Wdq,Iub l0
  66.62 vpcmpistrm Vdq,Wdq,Iub l0
  66.63 vpcmpistri Vdq,Wdq,Iub l0
  66.df vaeskeygenassist Vdq,Wdq,Iub l0 @aes
  f2.f0 rorx Gy,Ey,Iub l0 @bmi2
`;

export function vexRows(): OpcodeRow[] {
  const map1 =
    MAP_0F +
    integerTriples(MAP_0F_INTEGER) +
    integer(MAP_0F_INTEGER_REST) +
    floats('58 vadd;59 vmul;5c vsub;5d vmin;5e vdiv;5f vmax', ['ps', 'pd', 'ss', 'sd']) +
    floats('14 vunpckl;15 vunpckh;54 vand;55 vandn;56 vor;57 vxor', ['ps', 'pd']);
  return [
    ...parseRows(1, true, 'avx', map1),
    ...parseRows(2, true, 'avx', MAP_0F38 + integerTriples(MAP_0F38_INTEGER) + integer(MAP_0F38_INTEGER_REST)),
    ...parseRows(2, true, 'fma', fma()),
    ...parseRows(3, true, 'avx', MAP_0F3A + integer(MAP_0F3A_INTEGER)),
  ];
}
