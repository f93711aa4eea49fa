/** Instructions and the routine calls that stand for them. */
import { Rec } from './host.ts';
import type { Machine } from './machine.ts';

export type Case = {
  readonly name: string;
  readonly bytes: readonly number[];
  readonly run: (m: Machine, record: DataView) => void;
  readonly bcd?: boolean;
  /** The result may be one unit in the last place off, and C1 with it. */
  readonly nearly?: boolean;
};

const MEM = Rec.memory;
const modrm = (reg: number): number => (reg << 3) | 2;

const single = (v: DataView): [bigint, number] => [BigInt(v.getUint32(MEM, true)), 4];
const double = (v: DataView): [bigint, number] => [v.getBigUint64(MEM, true), 8];
const word = (v: DataView): [bigint, number] => [BigInt(v.getInt16(MEM, true)), 2];
const dword = (v: DataView): [bigint, number] => [BigInt(v.getInt32(MEM, true)), 2];
const qword = (v: DataView): [bigint, number] => [v.getBigInt64(MEM, true), 2];
const FORMATS = [
  ['m32', 0xd8, single],
  ['m64', 0xdc, double],
  ['i32', 0xda, dword],
  ['i16', 0xde, word],
] as const;

/** Writes a store's result if it says so. */
function put(m: Machine, record: DataView, bytes: number, bits: bigint): void {
  if (m.helper(3) === 0n) return;
  if (bytes === 2) record.setUint16(MEM, Number(bits & 0xffffn), true);
  else if (bytes === 4) record.setUint32(MEM, Number(bits & 0xffff_ffffn), true);
  else record.setBigUint64(MEM, BigInt.asUintN(64, bits), true);
  if (bytes === 10) record.setUint16(MEM + 8, Number(m.helper(0) & 0xffffn), true);
}

export function cases(): Case[] {
  const out: Case[] = [];
  const add = (name: string, bytes: readonly number[], run: Case['run'], bcd = false): void => {
    out.push({ name, bytes, run, bcd });
  };
  for (const [reg, name] of ['add', 'mul', '', '', 'sub', 'subr', 'div', 'divr'].entries()) {
    if (name === '') continue;
    const swapped = reg < 4 ? reg : reg ^ 1;
    for (const i of [1, 3]) {
      add(`f${name} st,st${i}`, [0xd8, 0xc0 + 8 * reg + i], (m) => m.call(`x87.${name}`, 0, i, 0));
      add(`f${name} st${i},st`, [0xdc, 0xc0 + 8 * swapped + i], (m) => m.call(`x87.${name}`, i, 0, 0));
      add(`f${name}p st${i},st`, [0xde, 0xc0 + 8 * swapped + i], (m) => m.call(`x87.${name}`, i, 0, 1));
    }
    for (const [format, op, get] of FORMATS)
      add(`f${name} ${format}`, [op, modrm(reg)], (m, v) => m.call(`x87.${name}.m`, ...get(v)));
  }
  for (const [format, op, get] of FORMATS) {
    add(`fcom ${format}`, [op, modrm(2)], (m, v) => m.call('x87.com.m', ...get(v), 0));
    add(`fcomp ${format}`, [op, modrm(3)], (m, v) => m.call('x87.com.m', ...get(v), 1));
  }
  add('fcom st1', [0xd8, 0xd1], (m) => m.call('x87.com', 1, 0, 0));
  add('fcomp st2', [0xd8, 0xda], (m) => m.call('x87.com', 2, 0, 1));
  add('fcompp', [0xde, 0xd9], (m) => m.call('x87.com', 1, 0, 2));
  add('fucom st1', [0xdd, 0xe1], (m) => m.call('x87.com', 1, 1, 0));
  add('fucomp st2', [0xdd, 0xea], (m) => m.call('x87.com', 2, 1, 1));
  add('fucompp', [0xda, 0xe9], (m) => m.call('x87.com', 1, 1, 2));
  for (const [name, op, base, quiet, pop] of [
    ['fcomi', 0xdb, 0xf0, 0, 0],
    ['fucomi', 0xdb, 0xe8, 1, 0],
    ['fcomip', 0xdf, 0xf0, 0, 1],
    ['fucomip', 0xdf, 0xe8, 1, 1],
  ] as const)
    add(`${name} st1`, [op, base + 1], (m, v) => {
      const order = Number(m.call('x87.comi', 1, quiet, pop));
      const kept = v.getUint32(Rec.rflags, true) & ~0x8d5;
      v.setUint32(Rec.rflags, kept | ((order >> 8) & 1) | ((order >> 8) & 4) | ((order >> 8) & 0x40), true);
    });
  add('ftst', [0xd9, 0xe4], (m) => m.call('x87.tst'));
  add('fxam', [0xd9, 0xe5], (m) => m.call('x87.xam'));
  add('fld m32', [0xd9, modrm(0)], (m, v) => m.call('x87.load', ...single(v)));
  add('fld m64', [0xdd, modrm(0)], (m, v) => m.call('x87.load', ...double(v)));
  add('fld m80', [0xdb, modrm(5)], (m, v) => m.call('x87.push', v.getBigUint64(MEM, true), v.getUint16(MEM + 8, true)));
  add('fild m16', [0xdf, modrm(0)], (m, v) => m.call('x87.load', ...word(v)));
  add('fild m32', [0xdb, modrm(0)], (m, v) => m.call('x87.load', ...dword(v)));
  add('fild m64', [0xdf, modrm(5)], (m, v) => m.call('x87.load', ...qword(v)));
  add('fbld', [0xdf, modrm(4)], (m, v) => m.call('x87.loadBcd', v.getBigUint64(MEM, true), v.getUint16(MEM + 8, true)), true);
  add('fld st0', [0xd9, 0xc0], (m) => m.call('x87.dup', 0));
  add('fld st3', [0xd9, 0xc3], (m) => m.call('x87.dup', 3));
  add('fld st7', [0xd9, 0xc7], (m) => m.call('x87.dup', 7));
  add('fst m32', [0xd9, modrm(2)], (m, v) => put(m, v, 4, m.call('x87.storeSingle', 0) as bigint));
  add('fstp m32', [0xd9, modrm(3)], (m, v) => put(m, v, 4, m.call('x87.storeSingle', 1) as bigint));
  add('fst m64', [0xdd, modrm(2)], (m, v) => put(m, v, 8, m.call('x87.storeDouble', 0) as bigint));
  add('fstp m64', [0xdd, modrm(3)], (m, v) => put(m, v, 8, m.call('x87.storeDouble', 1) as bigint));
  add('fstp m80', [0xdb, modrm(7)], (m, v) => put(m, v, 10, m.call('x87.storeExtended') as bigint));
  add('fbstp', [0xdf, modrm(6)], (m, v) => put(m, v, 10, m.call('x87.storeBcd') as bigint));
  const integers = [
    [2, 0xdf, 2, 3],
    [4, 0xdb, 2, 3],
    [8, 0xdf, -1, 7],
  ] as const;
  for (const [bytes, op, fist, fistp] of integers) {
    if (fist >= 0)
      add(`fist ${bytes}`, [op, modrm(fist)], (m, v) => put(m, v, bytes, m.call('x87.storeInteger', 0, bytes, 0) as bigint));
    add(`fistp ${bytes}`, [op, modrm(fistp)], (m, v) => put(m, v, bytes, m.call('x87.storeInteger', 1, bytes, 0) as bigint));
  }
  for (const [bytes, op] of [
    [2, 0xdf],
    [4, 0xdb],
    [8, 0xdd],
  ] as const)
    add(`fisttp ${bytes}`, [op, modrm(1)], (m, v) => put(m, v, bytes, m.call('x87.storeInteger', 1, bytes, 1) as bigint));
  add('fst st2', [0xdd, 0xd2], (m) => m.call('x87.copy', 2, 0));
  add('fstp st2', [0xdd, 0xda], (m) => m.call('x87.copy', 2, 1));
  add('fstp st0', [0xdd, 0xd8], (m) => m.call('x87.copy', 0, 1));
  add('fstpnce st2', [0xd9, 0xda], (m) => m.call('x87.copyQuietly', 2));
  add('fxch st1', [0xd9, 0xc9], (m) => m.call('x87.xch', 1));
  add('fxch st0', [0xd9, 0xc8], (m) => m.call('x87.xch', 0));
  add('fcmovb st1', [0xda, 0xc1], (m, v) => m.call('x87.cmov', 1, v.getUint32(Rec.rflags, true) & 1));
  add('fcmovne st2', [0xdb, 0xca], (m, v) => m.call('x87.cmov', 2, v.getUint32(Rec.rflags, true) & 0x40 ? 0 : 1));
  for (const [name, op] of [
    ['chs', 0xe0],
    ['abs', 0xe1],
    ['sqrt', 0xfa],
    ['rndint', 0xfc],
    ['scale', 0xfd],
    ['xtract', 0xf4],
    ['prem', 0xf8],
    ['prem1', 0xf5],
  ] as const)
    add(`f${name}`, [0xd9, op], (m) => m.call(`x87.${name}`));
  const CONSTANTS = ['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz'];
  for (const [i, name] of CONSTANTS.entries()) add(name, [0xd9, 0xe8 + i], (m) => m.call('x87.constant', i));
  const TRANSCENDENTAL = { '2xm1': 0xf0, yl2x: 0xf1, ptan: 0xf2, patan: 0xf3, yl2xp1: 0xf9, sincos: 0xfb, sin: 0xfe, cos: 0xff };
  for (const [name, op] of Object.entries(TRANSCENDENTAL))
    out.push({ name: `f${name}`, bytes: [0xd9, op], run: (m) => m.call(`x87.${name}`), nearly: true });
  add('fincstp', [0xd9, 0xf7], (m) => m.call('x87.incstp'));
  add('fdecstp', [0xd9, 0xf6], (m) => m.call('x87.decstp'));
  add('ffree st1', [0xdd, 0xc1], (m) => m.call('x87.free', 1, 0));
  add('ffreep st1', [0xdf, 0xc1], (m) => m.call('x87.free', 1, 1));
  add('fninit', [0xdb, 0xe3], (m) => m.call('x87.init'));
  add('fnclex', [0xdb, 0xe2], (m) => m.call('x87.clear'));
  add('fldcw', [0xd9, modrm(5)], (m, v) => m.call('x87.setControl', v.getUint16(MEM, true)));
  add('fnstsw ax', [0xdf, 0xe0, 0x66, 0x89, 0x02], (m, v) => v.setUint16(MEM, Number(m.call('x87.status')), true));
  add('fldenv16', [0x66, 0xd9, modrm(4)], (m, v) => m.withBytes(v, MEM, 14, (at) => m.call('x87.loadEnvironment', at, 14)));
  add('fldenv16; fnstenv16', [0x66, 0xd9, modrm(4), 0x66, 0xd9, modrm(6)], (m, v) =>
    m.withBytes(v, MEM, 14, (at) => {
      m.call('x87.loadEnvironment', at, 14);
      m.call('x87.storeEnvironment', at, 14);
      m.call('x87.maskAll');
    }),
  );
  // What FNSAVE leaves in memory shows the pointers and the tags too. `0x66` selects the 16-bit formats.
  for (const [prefix, environment, size] of [
    [[], 28, 108],
    [[0x66], 14, 94],
  ] as const)
    add(`frstor, fnsave: ${size} bytes`, [...prefix, 0xdd, modrm(4), ...prefix, 0xdd, modrm(6)], (m, v) =>
      m.withBytes(v, MEM, size, (at) => {
        m.call('x87.loadEnvironment', at, environment);
        m.call('x87.loadRegisters', at + environment, 0, 8);
        m.call('x87.storeEnvironment', at, environment);
        m.call('x87.storeRegisters', at + environment, 0, 8);
        m.call('x87.init');
      }),
    );
  return out;
}
