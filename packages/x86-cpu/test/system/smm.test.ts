/** System-management mode (SDM vol. 3 ch. 32; APM vol. 2 ch. 10). */
import { beforeEach, describe, expect, it } from 'vitest';
import { Rflags, Seg } from '../../src/index.ts';
import { Attr, Cr4 } from '../../src/system/context.ts';
import { TIERS } from './engine.ts';
import { LongModeMachine, Place, Selector } from './long-mode.ts';

const UD = 6;
const SMBASE = 0x3_0000;
const HANDLER = SMBASE + 0x8000;
const RSM = '0f aa';
const HLT = 'f4';
const at = (offset: number): number => SMBASE + offset;

describe.each(TIERS)('%s', (_name, options) => {
  let m: LongModeMachine;
  beforeEach(() => {
    m = new LongModeMachine(options);
    for (let n = 0; n < 16; n++) if (n !== 4) m.state.gpr[n] = 0x1_0000_0000n * BigInt(n) + 0x55n;
  });
  const handler = (program: string): void => {
    m.write(HANDLER, Buffer.from(program.replace(/\s/g, ''), 'hex'));
  };
  /** The SMI comes before the program's first instruction. */
  const interrupted = (program: string, code: string): ReturnType<LongModeMachine['run']> => {
    handler(code);
    m.load(program);
    m.smi = true;
    return m.run();
  };

  it('an SMI saves the state and goes on at SMBASE + 8000h, in 16-bit code with segments of 4 GiB', () => {
    m.processor.context.rflags |= Rflags.CF | Rflags.IF;
    const { cr0, cr3, cr4, efer } = m.state;
    expect(interrupted(HLT, HLT)).toBe('halt');
    const { state } = m;
    expect(state.rip).toBe(0x8001n);
    expect([state.segSel[Seg.CS], state.segBase[Seg.CS], state.segLimit[Seg.CS]]).toEqual([0x3000, BigInt(SMBASE), 0xffff_ffff]);
    expect([state.segSel[Seg.DS], state.segBase[Seg.DS], state.segLimit[Seg.DS]]).toEqual([0, 0n, 0xffff_ffff]);
    expect([state.cr4, state.efer, m.processor.context.rflags, state.cpl]).toEqual([0n, 0n, Rflags.FIXED, 0]);
    expect(state.cr0 & 0x8000_000dn).toBe(0n);
    expect(m.smm).toEqual([true]);
    const saved = [0xff58, 0xff50, 0xff48, 0xfed0, 0xff78].map((offset) => m.u64(at(offset)));
    expect(saved).toEqual([cr0, cr3, cr4, efer, BigInt(Place.code)]);
    expect(m.u64(at(0xff70)) & 0x201n).toBe(0x201n);
    expect(m.u64(at(0xfff8 - 8 * 3))).toBe(0x3_0000_0055n);
    expect(m.u32(at(0xfe00 + 16 * Seg.CS)) & 0xffff).toBe(Selector.code);
    expect([m.u32(at(0xfefc)), m.u32(at(0xff00))]).toEqual([0x2_0064, SMBASE]);
  });

  it('RSM brings all of it back, and the program goes on as if nothing had been', () => {
    // xor eax, eax; xor ebx, ebx; mov ds, ax; rsm
    const before = m.state.gpr.slice();
    expect(interrupted(`48 ff c0 ${HLT}`, `66 31 c0 66 31 db 8e d8 ${RSM}`)).toBe('halt');
    expect(m.state.rip).toBe(BigInt(Place.code + 4));
    for (let n = 1; n < 16; n++) expect(m.gpr(n), `register ${n}`).toBe(before[n]);
    expect(m.gpr(0)).toBe(before[0] + 1n);
    expect(m.state.segSel[Seg.DS]).toBe(Selector.data);
    expect(m.smm).toEqual([true, false]);
  });

  it('from CPL 3 back to CPL 3', () => {
    handler(RSM);
    m.enterUser();
    m.load('0f 0b', Place.user);
    m.smi = true;
    expect(m.event()).toMatchObject({ vector: UD, rip: Place.user, cs: Selector.userCode });
  });

  it('the handler may change what is saved, and where the next one begins', () => {
    // mov dword [3ff00h], 40000h; mov dword [3fff8h], 1234h; rsm
    const store = (offset: number, value: string): string => `67 66 c7 05 ${offset.toString(16)} ff 03 00 ${value}`;
    expect(interrupted(HLT, `${store(0, '00 00 04 00')}${store(0xf8, '34 12 00 00')}${RSM}`.replace('05 0 ff', '05 00 ff'))).toBe(
      'halt',
    );
    expect(m.gpr(0) & 0xffff_ffffn).toBe(0x1234n);
    expect(m.state.smbase).toBe(0x4_0000);
    m.write(0x4_8000, [0xf4]);
    m.smi = true;
    m.run();
    expect([m.state.segBase[Seg.CS], m.state.rip]).toEqual([0x4_0000n, 0x8001n]);
  });

  it('an SMI ends HLT; by auto-halt restart RSM goes back to it, unless the handler says no (§32.10)', () => {
    for (const restart of [true, false]) {
      m = new LongModeMachine(options);
      m.load(`${HLT} 0f 0b`);
      expect(m.run()).toBe('halt');
      // mov byte [3fec9h], 0
      handler(restart ? RSM : `67 c6 05 c9 fe 03 00 00 ${RSM}`);
      m.smi = true;
      if (restart) {
        expect(m.run()).toBe('halt');
        expect(m.state.rip).toBe(BigInt(Place.code + 1));
      } else expect(m.event()).toMatchObject({ vector: UD, rip: Place.code + 1 });
    }
  });

  it('within the handler another SMI waits, and so does an NMI', () => {
    handler(`90 90 ${RSM}`);
    m.load(`${HLT}`);
    m.smi = true;
    m.nmi = true;
    m.run(1);
    m.smi = true;
    expect(m.run()).toBe('halt');
    expect(m.smm.slice(0, 4)).toEqual([true, false, true, false]);
  });

  it('RSM elsewhere is #UD; a saved state that cannot be shuts the processor down (§32.4.2)', () => {
    m.load(RSM);
    expect(m.event().vector).toBe(UD);
    for (const [offset, value] of [
      [0xff58, 0x8000_0010n],
      [0xff48, 1n << 31n],
      [0xfed0, 1n << 30n],
    ] as const) {
      m = new LongModeMachine(options);
      handler(HLT);
      m.load(HLT);
      m.smi = true;
      expect(m.run()).toBe('halt');
      m.setU64(at(offset), value);
      m.write(HANDLER + 1, [0x0f, 0xaa]);
      m.state.halted = 0;
      expect(m.run()).toBe('shutdown');
    }
  });

  it('compatibility and protected mode come back as they were', () => {
    m.state.cr4 |= BigInt(Cr4.PGE);
    const c = m.processor.context;
    const attr = c.state.segAttr[Seg.SS];
    expect(interrupted(HLT, RSM)).toBe('halt');
    expect(c.state.segAttr[Seg.SS]).toBe(attr);
    expect(c.state.segAttr[Seg.CS] & Attr.L).toBe(Attr.L);
    expect(c.state.cr4 & BigInt(Cr4.PGE)).toBe(BigInt(Cr4.PGE));
  });
});
