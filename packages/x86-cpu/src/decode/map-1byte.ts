/** One-byte opcode map (SDM vol. 2, tables ). The x87 escapes D8–DF are in `x87.ts`. */
import type { OpcodeRow } from './opcodes.ts';
import { parseRows } from './opcodes.ts';

const ARITHMETIC = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'];
const SHIFTS = ['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sal=shl', 'sar'];

/** The eight two-operand groups at 00–3F and group 1 at 80–83. CMP only reads, so LOCK is not for it. */
function arithmetic(): string {
  return ARITHMETIC.map((name, i) => {
    const at = (n: number): string => (i * 8 + n).toString(16).padStart(2, '0');
    const lock = name === 'cmp' ? '' : 'lock';
    return `
      ${at(0)} ${name} Eb,Gb ${lock}
      ${at(1)} ${name} Ev,Gv ${lock}
      ${at(2)} ${name} Gb,Eb
      ${at(3)} ${name} Gv,Ev
      ${at(4)} ${name} AL,Ib
      ${at(5)} ${name} rAX,Iz
      80/${i} ${name} Eb,Ib ${lock}
      81/${i} ${name} Ev,Iz ${lock}
      82/${i} ${name} Eb,Ib ${lock} i64
      83/${i} ${name} Ev,Isv ${lock}`;
  }).join('');
}

/** Group 2: /6 is SHL's undocumented second encoding. */
function shifts(): string {
  return SHIFTS.map((name, i) => {
    const alias = i === 6 ? 'alias' : '';
    return `
      c0/${i} ${name} Eb,Iub ${alias} @i186
      c1/${i} ${name} Ev,Iub ${alias} @i186
      d0/${i} ${name} Eb,1 ${alias}
      d1/${i} ${name} Ev,1 ${alias}
      d2/${i} ${name} Eb,CL ${alias}
      d3/${i} ${name} Ev,CL ${alias}`;
  }).join('');
}

const REST = `
  06 push=push_sreg ES i64 d64
  07 pop=pop_sreg ES i64 d64 end
  0e push=push_sreg CS i64 d64
  16 push=push_sreg SS i64 d64
  17 pop=pop_sreg SS i64 d64 end
  1e push=push_sreg DS i64 d64
  1f pop=pop_sreg DS i64 d64 end
  27 daa - i64
  2f das - i64
  37 aaa - i64
  3f aas - i64
  40+r inc Zv i64
  48+r dec Zv i64
  50+r push Zv d64
  58+r pop Zv d64
  60 pusha - i64
  61 popa - i64
  62m bound Gv,Ma i64
  63 arpl Ew,Gw i64 sys
  63 movsxd Gv,Ez o64
  68 push Iz d64
  69 imul=imul3 Gv,Ev,Iz
  6a push Isv d64
  6b imul=imul3 Gv,Ev,Isv
  6c ins Yb,DX rep iopl
  6d ins Yz,DX rep iopl
  6e outs DX,Xb rep iopl
  6f outs DX,Xz rep iopl
  70+cc jcc Jb f64 jcc
  84 test Eb,Gb
  85 test Ev,Gv
  86 xchg Eb,Gb lock
  87 xchg Ev,Gv lock
  88 mov Eb,Gb
  89 mov Ev,Gv
  8a mov Gb,Eb
  8b mov Gv,Ev
  8cm mov=mov_from_sreg Mw,Sw
  8cr mov=mov_from_sreg Rv,Sw
  8d lea Gv,M
  8e mov=mov_to_sreg Sw,Ew end
  8f/0 pop Ev d64
  90 nop -
  91 xchg Zv,rAX
  92 xchg Zv,rAX
  93 xchg Zv,rAX
  94 xchg Zv,rAX
  95 xchg Zv,rAX
  96 xchg Zv,rAX
  97 xchg Zv,rAX
  98 cbw -
  99 cwd -
  9a call=call_far Ap i64 far
  9b fwait - @x87
  9c pushf - d64
  9d popf - d64 end
  9e sahf -
  9f lahf -
  a0 mov AL,Ob
  a1 mov rAX,Ov
  a2 mov Ob,AL
  a3 mov Ov,rAX
  a4 movs Yb,Xb rep
  a5 movs Yv,Xv rep
  a6 cmps Xb,Yb repcc
  a7 cmps Xv,Yv repcc
  a8 test AL,Ib
  a9 test rAX,Iz
  aa stos Yb,AL rep
  ab stos Yv,rAX rep
  ac lods AL,Xb rep
  ad lods rAX,Xv rep
  ae scas AL,Yb repcc
  af scas rAX,Yv repcc
  b0+r mov Zb,Ib
  b8+r mov Zv,Iv
  c2 ret Iw f64 ret
  c3 ret - f64 ret
  c4m les Gv,Mp i64 end
  c5m lds Gv,Mp i64 end
  c6/0 mov Eb,Ib
  c7/0 mov Ev,Iz
  c8 enter Iw,Iub d64
  c9 leave - d64
  ca ret=ret_far Iw far
  cb ret=ret_far - far
  cc int3 - int
  cd int Iub int
  ce into - i64 int
  cf iret - iret
  d4 aam Iub i64
  d5 aad Iub i64
  d6 salc - i64 alias
  d7 xlat BBb
  e0 loopne Jb f64 jcc
  e1 loope Jb f64 jcc
  e2 loop Jb f64 jcc
  e3 jcxz Jb f64 jcc
  e4 in AL,Iub iopl
  e5 in eAX,Iub iopl
  e6 out Iub,AL iopl
  e7 out Iub,eAX iopl
  e8 call Jz f64 call
  e9 jmp Jz f64 jmp
  ea jmp=jmp_far Ap i64 far
  eb jmp Jb f64 jmp
  ec in AL,DX iopl
  ed in eAX,DX iopl
  ee out DX,AL iopl
  ef out DX,eAX iopl
  f1 int1 - int
  f4 hlt - cpl0 hlt
  f5 cmc -
  f6/0 test Eb,Ib
  f6/1 test Eb,Ib alias
  f6/2 not Eb lock
  f6/3 neg Eb lock
  f6/4 mul Eb
  f6/5 imul=imul1 Eb
  f6/6 div Eb
  f6/7 idiv Eb
  f7/0 test Ev,Iz
  f7/1 test Ev,Iz alias
  f7/2 not Ev lock
  f7/3 neg Ev lock
  f7/4 mul Ev
  f7/5 imul=imul1 Ev
  f7/6 div Ev
  f7/7 idiv Ev
  f8 clc -
  f9 stc -
  fa cli - sys
  fb sti - sys end
  fc cld -
  fd std -
  fe/0 inc Eb lock
  fe/1 dec Eb lock
  ff/0 inc Ev lock
  ff/1 dec Ev lock
  ff/2 call=call_ind Ev f64 calli
  ff/3m call=call_far_ind Mp far
  ff/4 jmp=jmp_ind Ev f64 jmpi
  ff/5m jmp=jmp_far_ind Mp far
  ff/6 push Ev d64
`;

/** Rows the decoder picks by itself at 90: XCHG needs REX.B, PAUSE needs F3 (SDM vol. 2B, NOP, PAUSE, XCHG). */
const SPECIAL_90 = `
  f3.90 pause - @sse2 else:nop
`;

export function oneByteRows(): OpcodeRow[] {
  return parseRows(0, false, 'base', arithmetic() + shifts() + REST + SPECIAL_90);
}

/** `xchg r8, rAX`: 90 with REX.B. Not in the map, where 90 is NOP. */
export function xchg90Row(): OpcodeRow[] {
  return parseRows(0, false, 'base', '90 xchg Zv,rAX o64');
}
