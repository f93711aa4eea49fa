/** Map 0F 38 without VEX (SDM vol. 2, table A-4). */
import { mmxPairs } from './map-0f-simd.ts';
import type { OpcodeRow } from './opcodes.ts';
import { parseRows } from './opcodes.ts';

const SSSE3 = `
  00 pshufb; 01 phaddw; 02 phaddd; 03 phaddsw; 04 pmaddubsw; 05 phsubw; 06 phsubd; 07 phsubsw; 08 psignb; 09 psignw; 0a psignd;
  0b pmulhrsw; 1c pabsb; 1d pabsw; 1e pabsd
`;

const SSE4 = `
  66.10 pblendvb Vdq,Wdq,XMM0
  66.14 blendvps Vdq,Wdq,XMM0
  66.15 blendvpd Vdq,Wdq,XMM0
  66.17 ptest Vdq,Wdq
  66.20 pmovsxbw Vdq,Wq
  66.21 pmovsxbd Vdq,Wd
  66.22 pmovsxbq Vdq,Ww
  66.23 pmovsxwd Vdq,Wq
  66.24 pmovsxwq Vdq,Wd
  66.25 pmovsxdq Vdq,Wq
  66.28 pmuldq Vdq,Wdq
  66.29 pcmpeqq Vdq,Wdq
  66.2a movntdqa Vdq,Mdq
  66.2b packusdw Vdq,Wdq
  66.30 pmovzxbw Vdq,Wq
  66.31 pmovzxbd Vdq,Wd
  66.32 pmovzxbq Vdq,Ww
  66.33 pmovzxwd Vdq,Wq
  66.34 pmovzxwq Vdq,Wd
  66.35 pmovzxdq Vdq,Wq
  66.37 pcmpgtq Vdq,Wdq @sse4_2
  66.38 pminsb Vdq,Wdq
  66.39 pminsd Vdq,Wdq
  66.3a pminuw Vdq,Wdq
  66.3b pminud Vdq,Wdq
  66.3c pmaxsb Vdq,Wdq
  66.3d pmaxsd Vdq,Wdq
  66.3e pmaxuw Vdq,Wdq
  66.3f pmaxud Vdq,Wdq
  66.40 pmulld Vdq,Wdq
  66.41 phminposuw Vdq,Wdq
`;

const REST = `
  66.80 invept Gn,Mdq cpl0 end @vmx
  66.81 invvpid Gn,Mdq cpl0 end @vmx
  66.82 invpcid Gn,Mdq cpl0 end @invpcid
  np.c8 sha1nexte Vdq,Wdq @sha
  np.c9 sha1msg1 Vdq,Wdq @sha
  np.ca sha1msg2 Vdq,Wdq @sha
  np.cb sha256rnds2 Vdq,Wdq,XMM0 @sha
  np.cc sha256msg1 Vdq,Wdq @sha
  np.cd sha256msg2 Vdq,Wdq @sha
  66.db aesimc Vdq,Wdq @aes
  66.dc aesenc Vdq,Wdq @aes
  66.dd aesenclast Vdq,Wdq @aes
  66.de aesdec Vdq,Wdq @aes
  66.df aesdeclast Vdq,Wdq @aes
  nf.f0 movbe Gv,Mv @movbe
  nf.f1 movbe Mv,Gv @movbe
  f2.f0 crc32 Gy,Eb @sse4_2
  f2.f1 crc32 Gy,Ev @sse4_2
  66.f6 adcx Gy,Ey @adx
  f3.f6 adox Gy,Ey @adx
`;

export function map0f38Rows(): OpcodeRow[] {
  return [...parseRows(2, false, 'ssse3', mmxPairs(SSSE3, 'ssse3', 'ssse3')), ...parseRows(2, false, 'sse4_1', SSE4 + REST)];
}
