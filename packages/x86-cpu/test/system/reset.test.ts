/** RESET and INIT (SDM vol. 3 §10.1.1, table 10-1; AMD APM vol. 2 §14.1.3, table 14-1). */
import { beforeEach, describe, expect, it } from 'vitest';
import { Rflags, Seg } from '../../src/index.ts';
import { Attr } from '../../src/system/context.ts';
import { TIERS } from './engine.ts';
import { LongModeMachine } from './long-mode.ts';

const CD_NW = 0x6000_0000n;
const SMBASE = 0x3_0000;

describe.each(TIERS)('%s', (_name, options) => {
  let m: LongModeMachine;
  beforeEach(() => {
    m = new LongModeMachine(options);
    const { state } = m;
    state.gpr.fill(0x1234_5678_9abc_def0n);
    state.gpr[4] = 0x1000n;
    for (const [n] of state.xmm.entries()) state.xmm[n] = BigInt(n + 1);
    state.lstar = 0xffff_8000_0000_1000n;
    state.tscAux = 7n;
    state.pat = 0x0606_0606_0606_0606n;
    state.dr[0] = 0x1000n;
    state.dr[7] = 0x401n;
    state.smbase = 0xa_0000;
    state.mxcsr = 0x3f80;
    state.fcw = 0x27f;
    state.ftop = 7;
    state.cr2 = 0x55n;
  });

  const expectEntry = (cacheControl: bigint): void => {
    const { state } = m;
    const { context } = m.processor;
    expect([...state.gpr]).toEqual(Array.from({ length: 16 }, (_, n) => (n === 2 ? BigInt(context.signature) : 0n)));
    expect([state.rip, context.rflags]).toEqual([0xfff0n, Rflags.FIXED]);
    expect([state.cr0, state.cr2, state.cr3, state.cr4, state.efer]).toEqual([cacheControl | 0x10n, 0n, 0n, 0n, 0n]);
    expect([state.segSel[Seg.CS], state.segBase[Seg.CS], state.segLimit[Seg.CS]]).toEqual([0xf000, 0xffff_0000n, 0xffff]);
    for (const seg of [Seg.DS, Seg.ES, Seg.SS, Seg.FS, Seg.GS])
      expect([state.segSel[seg], state.segBase[seg], state.segLimit[seg], state.segAttr[seg] & Attr.P]).toEqual([
        0,
        0n,
        0xffff,
        Attr.P,
      ]);
    expect([state.gdtrBase, state.gdtrLimit, state.idtrBase, state.idtrLimit]).toEqual([0n, 0xffff, 0n, 0xffff]);
    expect([...state.dr.slice(0, 4), state.dr[6], state.dr[7]]).toEqual([0n, 0n, 0n, 0n, 0xffff_0ff0n, 0x400n]);
  };

  it('RESET: the reset vector, and all else as table 10-1 has it', () => {
    m.processor.reset();
    expectEntry(CD_NW);
    const { state } = m;
    expect([state.fcw, state.fsw, state.mxcsr, state.xcr0, state.smbase]).toEqual([0x40, 0, 0x1f80, 1n, SMBASE]);
    expect([...state.xmm].every((half) => half === 0n)).toBe(true);
    expect([state.lstar, state.tscAux, state.pat]).toEqual([0n, 0n, 0x0007_0406_0007_0406n]);
  });

  it('INIT: the reset vector; x87, SSE, XCR0, SMBASE and MSRs stay, and of CR0 CD and NW', () => {
    const { state } = m;
    state.xcr0 = 7n;
    state.cr0 &= ~CD_NW;
    const kept = (): unknown => [
      ...[state.fcw, state.fsw, state.ftop, state.fempty, state.mxcsr, state.xcr0, state.smbase],
      ...[state.lstar, state.tscAux, state.pat, state.miscEnable],
      ...state.xmm,
      ...state.fpr,
      ...state.ymmHigh,
    ];
    const before = kept();
    m.processor.init();
    expectEntry(0n);
    expect(kept()).toEqual(before);
    state.cr0 |= CD_NW;
    m.processor.init();
    expectEntry(CD_NW);
  });

  it('INIT ends HLT and the blocking of NMIs, and the processor goes on at the reset vector', () => {
    const { state } = m;
    m.load('f4');
    expect(m.run()).toBe('halt');
    state.nmiBlocked = 1;
    m.processor.init();
    expect([state.halted, state.nmiBlocked]).toEqual([0, 0]);
    expectEntry(state.cr0 & CD_NW);
  });

  it('INIT waits in system-management mode', () => {
    expect(m.processor.initBlocked).toBe(false);
    m.state.smbase = SMBASE;
    m.write(SMBASE + 0x8000, Uint8Array.of(0xf4));
    m.smi = true;
    m.load('f4');
    expect(m.run()).toBe('halt');
    expect(m.processor.initBlocked).toBe(true);
  });
});
