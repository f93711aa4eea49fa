/** x87 escapes D8–DF (SDM vol. 2, tables; APM vol. 3, table A-15). */
import type { OpcodeRow } from './opcodes.ts';
import { parseRows } from './opcodes.ts';

const ARITHMETIC = ['fadd', 'fmul', 'fcom', 'fcomp', 'fsub', 'fsubr', 'fdiv', 'fdivr'];

/** The arithmetic column of every escape. DC and DE exchange the reversed forms: DC /4 is FSUBR, DC /5 FSUB (SDM vol. 2A, FSUB). */
function arithmetic(): string {
  return ARITHMETIC.map((name, i) => {
    const integer = `fi${name.slice(1)}`;
    const swapped = ARITHMETIC[i < 4 ? i : i ^ 1] ?? '';
    // FCOM and FCOMP have undocumented second encodings at DC D0 and DC D8; both compare ST(0), which stays the first operand.
    const toSti = i === 2 || i === 3 ? `dc/${i}r ${name} ST0,STi alias` : `dc/${i}r ${swapped} STi,ST0`;
    const pop = i === 2 ? 'de/2r fcomp ST0,STi alias' : i === 3 ? 'de/3r:1 fcompp -' : `de/${i}r ${swapped}p STi,ST0`;
    return `
      d8/${i}m ${name} ST0,Md
      d8/${i}r ${name} ST0,STi
      da/${i}m ${integer} ST0,Md
      dc/${i}m ${name} ST0,Mq
      ${toSti}
      de/${i}m ${integer} ST0,Mw
      ${pop}`;
  }).join('');
}

const LOAD_STORE = `
  d9/0m fld Md
  d9/2m fst Md
  d9/3m fstp Md
  d9/4m fldenv Menv
  d9/5m fldcw Mw
  d9/6m fnstenv Menv
  d9/7m fnstcw Mw
  db/0m fild Md
  db/1m fisttp Md @sse3
  db/2m fist Md
  db/3m fistp Md
  db/5m fld Mt
  db/7m fstp Mt
  dd/0m fld Mq
  dd/1m fisttp Mq @sse3
  dd/2m fst Mq
  dd/3m fstp Mq
  dd/4m frstor Mst
  dd/6m fnsave Mst
  dd/7m fnstsw Mw
  df/0m fild Mw
  df/1m fisttp Mw @sse3
  df/2m fist Mw
  df/3m fistp Mw
  df/4m fbld Mt
  df/5m fild Mq
  df/6m fbstp Mt
  df/7m fistp Mq
`;

const REGISTER = `
  d9/0r fld STi
  d9/1r fxch ST0,STi
  d9/2r:0 fnop -
  d9/3r fstp=fstpnce STi alias
  d9/4r:0 fchs -
  d9/4r:1 fabs -
  d9/4r:4 ftst -
  d9/4r:5 fxam -
  d9/5r:0 fld1 -
  d9/5r:1 fldl2t -
  d9/5r:2 fldl2e -
  d9/5r:3 fldpi -
  d9/5r:4 fldlg2 -
  d9/5r:5 fldln2 -
  d9/5r:6 fldz -
  d9/6r:0 f2xm1 -
  d9/6r:1 fyl2x -
  d9/6r:2 fptan -
  d9/6r:3 fpatan -
  d9/6r:4 fxtract -
  d9/6r:5 fprem1 -
  d9/6r:6 fdecstp -
  d9/6r:7 fincstp -
  d9/7r:0 fprem -
  d9/7r:1 fyl2xp1 -
  d9/7r:2 fsqrt -
  d9/7r:3 fsincos -
  d9/7r:4 frndint -
  d9/7r:5 fscale -
  d9/7r:6 fsin -
  d9/7r:7 fcos -
  da/0r fcmovb ST0,STi @cmov
  da/1r fcmove ST0,STi @cmov
  da/2r fcmovbe ST0,STi @cmov
  da/3r fcmovu ST0,STi @cmov
  da/5r:1 fucompp -
  db/0r fcmovnb ST0,STi @cmov
  db/1r fcmovne ST0,STi @cmov
  db/2r fcmovnbe ST0,STi @cmov
  db/3r fcmovnu ST0,STi @cmov
  db/4r:0 fneni=fnnop - alias
  db/4r:1 fndisi=fnnop - alias
  db/4r:2 fnclex -
  db/4r:3 fninit -
  db/4r:4 fnsetpm=fnnop - alias
  db/5r fucomi ST0,STi @cmov
  db/6r fcomi ST0,STi @cmov
  dd/0r ffree STi
  dd/1r fxch ST0,STi alias
  dd/2r fst STi
  dd/3r fstp STi
  dd/4r fucom ST0,STi
  dd/5r fucomp ST0,STi
  df/0r ffreep STi alias
  df/1r fxch ST0,STi alias
  df/2r fstp STi alias
  df/3r fstp STi alias
  df/4r:0 fnstsw AX
  df/5r fucomip ST0,STi @cmov
  df/6r fcomip ST0,STi @cmov
`;

export function x87Rows(): OpcodeRow[] {
  return parseRows(0, false, 'x87', arithmetic() + LOAD_STORE + REGISTER);
}
