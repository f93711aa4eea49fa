/** XSAVE and its kin, XCR0, and what they have to say about AVX (SDM vol. 1 ch. 13, §14.1). */
import { beforeEach, describe, expect, it } from 'vitest';
import { Cr0, Cr4 } from '../../src/system/context.ts';
import type { EngineOptions } from './engine.ts';
import { TIERS } from './engine.ts';
import { LongModeMachine, Place } from './long-mode.ts';

const UD = 6;
const NM = 7;
const GP = 13;
const HLT = 'f4';
const AREA = Place.data + 0x40;
/** On the instruction behind `[rdi]`. */
const XSAVE = '48 0f ae 27';
const XSAVEOPT = '48 0f ae 37';
const XSAVEC = '48 0f c7 27';
const XRSTOR = '48 0f ae 2f';
const XGETBV = '0f 01 d0';
const XSETBV = '0f 01 d1';
const VPXOR = 'c5 fd ef c0'; // vpxor ymm0, ymm0, ymm0

class XsaveMachine extends LongModeMachine {
  constructor(options: EngineOptions, xcr0 = 7n) {
    super(options);
    const { state } = this;
    state.cr4 |= BigInt(Cr4.OSXSAVE);
    state.xcr0 = xcr0;
    this.processor.context.updateMode();
    state.gpr[7] = BigInt(AREA);
    for (let n = 0; n < 32; n++) {
      state.xmm[n] = 0x1111_0000_0000_0000n + BigInt(n);
      state.ymmHigh[n] = 0x2222_0000_0000_0000n + BigInt(n);
    }
    for (let n = 0; n < 8; n++) {
      state.fpr[2 * n] = (1n << 63n) | BigInt(n);
      state.fpr[2 * n + 1] = 0x3fffn;
    }
    state.fempty = 0;
    state.fcw = 0x27f;
    state.mxcsr = 0x1fa0;
  }

  override load(program: string, at?: number): void {
    super.load(program, at);
    this.state.halted = 0;
  }
  /** Sets EDX:EAX. */
  request(components: number): void {
    this.state.gpr[0] = BigInt(components);
    this.state.gpr[2] = 0n;
  }
  runTo(program: string): void {
    this.load(`${program} ${HLT}`);
    expect(this.run()).toBe('halt');
  }
  area(offset: number): bigint {
    return this.u64(AREA + offset);
  }
  fill(value: number): void {
    this.write(AREA, new Uint8Array(1024).fill(value));
  }
}

const header = (m: XsaveMachine): bigint[] => [m.area(512), m.area(520)];
const ONES = 0xffff_ffff_ffff_ffffn;

describe.each(TIERS)('%s', (_name, options) => {
  let m: XsaveMachine;
  beforeEach(() => {
    m = new XsaveMachine(options);
  });

  it('XSAVE writes what EDX:EAX and XCR0 ask for, and that component’s bit (§13.7)', () => {
    m.fill(0xff);
    m.request(4);
    m.runTo(XSAVE);
    expect(m.area(576)).toBe(m.state.ymmHigh[0]);
    expect(m.area(576 + 248)).toBe(m.state.ymmHigh[31]);
    expect(m.area(160), 'XMM0').toBe(ONES);
    expect(m.area(0), 'x87').toBe(ONES);
    expect(m.area(24) & 0xffff_ffffn, 'MXCSR').toBe(0x1fa0n);
    expect(header(m), 'the bits of other components stay').toEqual([ONES, ONES]);
    m.fill(0);
    m.request(3);
    m.runTo(XSAVE);
    expect([m.area(160), m.area(32), m.area(576)]).toEqual([m.state.xmm[0], m.state.fpr[0], 0n]);
    expect(m.area(0) & 0xffffn).toBe(0x27fn);
    expect(header(m)).toEqual([3n, 0n]);
  });

  it('XCR0 bounds the request', () => {
    m = new XsaveMachine(options, 3n);
    m.fill(0xff);
    m.request(0xffff_ffff);
    m.runTo(XSAVE);
    expect(m.area(576)).toBe(ONES);
  });

  it('XSAVEOPT and XSAVEC leave out upper halves that are all zero (§13.9, §13.10)', () => {
    for (const [program, layout] of [
      [XSAVEOPT, 0n],
      [XSAVEC, (1n << 63n) | 7n],
    ] as const) {
      m.state.ymmHigh.fill(0n);
      m.fill(0);
      m.setU64(AREA + 576, ONES);
      m.request(7);
      m.runTo(program);
      expect(m.area(576)).toBe(ONES);
      expect(header(m)).toEqual([3n, layout]);
      m.state.ymmHigh[5] = 7n;
      m.runTo(program);
      expect([m.area(576), m.area(576 + 40)]).toEqual([0n, 7n]);
      expect(header(m)).toEqual([7n, layout]);
    }
  });

  it.each([
    ['standard', XSAVE],
    ['compacted', XSAVEC],
  ])('XRSTOR brings back what was saved, and initialises what is marked absent: %s format (§13.8)', (_format, save) => {
    m.fill(0);
    m.request(7);
    m.runTo(save);
    const before = {
      xmm: [...m.state.xmm],
      high: [...m.state.ymmHigh],
      fpr: [...m.state.fpr],
      mxcsr: m.state.mxcsr,
      fcw: m.state.fcw,
    };
    const now = () => ({
      xmm: [...m.state.xmm],
      high: [...m.state.ymmHigh],
      fpr: [...m.state.fpr],
      mxcsr: m.state.mxcsr,
      fcw: m.state.fcw,
    });
    m.state.xmm.fill(1n);
    m.state.ymmHigh.fill(2n);
    m.state.fpr.fill(3n);
    m.state.mxcsr = 0x1f80;
    m.state.fcw = 0x37f;
    m.runTo(XRSTOR);
    expect(now()).toEqual(before);
    m.setU64(AREA + 512, 2n);
    m.runTo(XRSTOR);
    expect(now()).toEqual({ ...before, high: new Array(32).fill(0n), fpr: new Array(16).fill(0n), fcw: 0x37f });
    expect(m.state.fempty).toBe(0xff);
    // Without SSE state the standard format gives MXCSR all the same, the compacted one its initial value.
    m.setU64(AREA + 512, 0n);
    m.runTo(XRSTOR);
    expect(m.state.xmm.every((half) => half === 0n)).toBe(true);
    expect(m.state.mxcsr).toBe(save === XSAVE ? 0x1fa0 : 0x1f80);
  });

  it('XRSTOR restores only what is asked for', () => {
    m.fill(0);
    m.request(7);
    m.runTo(XSAVE);
    m.state.xmm.fill(1n);
    m.state.ymmHigh.fill(2n);
    m.request(4);
    m.runTo(XRSTOR);
    expect(m.state.xmm[3]).toBe(1n);
    expect(m.state.ymmHigh[3]).toBe(0x2222_0000_0000_0003n);
  });

  it.each<readonly [string, (machine: XsaveMachine) => void]>([
    ['an area that is not 64-byte aligned', (x) => void (x.state.gpr[7] += 16n)],
    ['a component that XCR0 has not', (x) => x.setU64(AREA + 512, 8n)],
    ['a reserved field of the header', (x) => x.setU64(AREA + 528, 1n)],
    ['a compacted layout of components that XCR0 has not', (x) => x.setU64(AREA + 520, (1n << 63n) | 8n)],
    [
      'a component that the compacted layout has not',
      (x) => {
        x.setU64(AREA + 512, 4n);
        x.setU64(AREA + 520, (1n << 63n) | 3n);
      },
    ],
    ['a layout without bit 63', (x) => x.setU64(AREA + 520, 1n)],
    ['reserved bits of MXCSR', (x) => x.setU64(AREA + 24, 0x1_0000n)],
  ])('XRSTOR: #GP(0) for %s, and nothing has changed (§13.8)', (_what, spoil) => {
    m.fill(0);
    m.request(7);
    m.runTo(XSAVE);
    m.state.xmm.fill(1n);
    spoil(m);
    m.load(XRSTOR);
    expect(m.event()).toMatchObject({ vector: GP, error: 0, rip: Place.code });
    expect(m.state.xmm.every((half) => half === 1n)).toBe(true);
  });

  it('an area that ends in a page which is not there faults before anything is written', () => {
    const base = Place.data + 0x1000 - 576;
    m.setPte(Place.data + 0x1000, 0n);
    m.processor.context.flushTlb();
    m.state.gpr[7] = BigInt(base);
    m.request(7);
    m.load(XSAVE);
    expect(m.event()).toMatchObject({ vector: 14, rip: Place.code });
    expect(m.u64(base)).toBe(0n);
    m.state.gpr[7] = BigInt(base);
    m.request(3);
    m.runTo(XSAVE);
  });

  it('without CR4.OSXSAVE all of them, and AVX, are #UD; with CR0.TS, #NM (SDM vol. 2A §2.4.3, vol. 2D)', () => {
    for (const program of [XSAVE, XSAVEC, XSAVEOPT, XRSTOR, XGETBV, XSETBV, VPXOR]) {
      m = new XsaveMachine(options);
      m.state.cr4 &= ~BigInt(Cr4.OSXSAVE);
      m.state.cr0 |= BigInt(Cr0.TS);
      m.processor.context.updateMode();
      m.load(program);
      expect(m.event().vector, program).toBe(UD);
    }
    for (const program of [XSAVE, XSAVEC, XSAVEOPT, XRSTOR, VPXOR]) {
      m = new XsaveMachine(options);
      m.state.cr0 |= BigInt(Cr0.TS);
      m.processor.context.updateMode();
      m.load(program);
      expect(m.event().vector, program).toBe(NM);
    }
  });

  it('AVX is #UD until XCR0 has SSE and AVX state, whatever CR0.EM and CR4.OSFXSR say', () => {
    m = new XsaveMachine(options, 3n);
    m.load(VPXOR);
    expect(m.event().vector).toBe(UD);
    m = new XsaveMachine(options);
    m.state.cr0 |= BigInt(Cr0.EM);
    m.state.cr4 &= ~BigInt(Cr4.OSFXSR);
    m.processor.context.updateMode();
    m.runTo(VPXOR);
    expect([m.state.xmm[0], m.state.ymmHigh[0]]).toEqual([0n, 0n]);
  });

  it('XSETBV sets XCR0 and takes effect at once; XGETBV reads it, and with ECX = 1 what is in use', () => {
    m = new XsaveMachine(options, 1n);
    m.state.gpr[1] = 0n;
    m.request(7);
    m.runTo(`${XSETBV} ${VPXOR} 31 c0 ${XGETBV}`);
    expect([m.gpr(0), m.gpr(2), m.state.xcr0]).toEqual([7n, 0n, 7n]);
    m.state.gpr[1] = 1n;
    m.runTo(XGETBV);
    expect(m.gpr(0)).toBe(7n);
    m.state.ymmHigh.fill(0n);
    m.runTo(XGETBV);
    expect(m.gpr(0)).toBe(3n);
  });

  it.each([
    ['x87 off', 0, 6n],
    ['AVX without SSE', 0, 5n],
    ['a component that the processor has not', 0, 0xffn],
    ['another register', 1, 7n],
  ])('XSETBV: #GP(0) for %s', (_what, index, value) => {
    m.state.gpr[1] = BigInt(index);
    m.request(Number(value));
    m.load(XSETBV);
    expect(m.event()).toMatchObject({ vector: GP, error: 0 });
    expect(m.state.xcr0).toBe(7n);
  });

  it('XSETBV is privileged, XGETBV not', () => {
    m.enterUser();
    m.state.gpr[1] = 0n;
    m.load(`${XGETBV} ${XSETBV}`, Place.user);
    expect(m.event()).toMatchObject({ vector: GP, rip: Place.user + 3 });
    expect(m.gpr(0)).toBe(7n);
  });
});

describe.each(TIERS)('XSAVES and PKRU: %s', (_name, options) => {
  const XSAVES = '48 0f c7 2f';
  const XRSTORS = '48 0f c7 1f';
  const RDPKRU = '0f 01 ee';
  const WRPKRU = '0f 01 ef';
  const machine = (xcr0 = 0x207n): XsaveMachine => {
    const m = new XsaveMachine({ ...options, cpu: 'max,+pku' }, xcr0);
    m.state.cr4 |= BigInt(Cr4.PKE);
    m.processor.context.updateMode();
    m.state.gpr[1] = 0n;
    return m;
  };

  it('XSAVES writes the compacted format, and XRSTORS takes no other; neither at CPL 3 (§13.11, §13.12)', () => {
    const m = machine(7n);
    m.request(7);
    m.runTo(XSAVES);
    expect(header(m)).toEqual([7n, (1n << 63n) | 7n]);
    m.state.xmm.fill(0n);
    m.runTo(XRSTORS);
    expect(m.state.xmm[5]).toBe(0x1111_0000_0000_0005n);
    m.setU64(AREA + 520, 0n);
    m.load(XRSTORS);
    expect(m.event()).toMatchObject({ vector: GP, error: 0 });
    for (const program of [XSAVES, XRSTORS]) {
      const user = machine(7n);
      user.enterUser();
      user.load(program, Place.user);
      expect(user.event()).toMatchObject({ vector: GP, rip: Place.user });
    }
  });

  it('IA32_XSS exists with XSAVES, and has no bits', () => {
    const m = machine();
    m.state.gpr[1] = 0xda0n;
    m.request(0);
    m.runTo('0f 32 0f 30');
    expect(m.gpr(0)).toBe(0n);
    m.request(0x100);
    m.load('0f 30');
    expect(m.event()).toMatchObject({ vector: GP, error: 0 });
  });

  it('PKRU is saved and restored, in the compacted format behind what is there (§13.4.3)', () => {
    for (const [program, components, place] of [
      [XSAVE, 0x207, 832],
      [XSAVEC, 0x207, 832],
      [XSAVEC, 0x203, 576],
    ] as const) {
      const m = machine();
      m.state.pkru = 0x55;
      m.processor.context.updatePkru();
      m.fill(0);
      m.request(components);
      m.runTo(program);
      expect(m.area(place)).toBe(0x55n);
      m.request(0xaa);
      m.runTo(WRPKRU);
      m.request(components);
      m.runTo(XRSTOR);
      expect(m.state.pkru).toBe(0x55);
      m.setU64(AREA + 512, 3n);
      m.runTo(XRSTOR);
      expect(m.state.pkru).toBe(0);
    }
  });

  it('a key whose access is disabled faults, at once after WRPKRU and after XRSTOR (SDM vol. 3 §4.6.2)', () => {
    for (const deny of ['wrpkru', 'xrstor']) {
      const m = machine();
      // The user's pages from 600000h on have key 1.
      m.setU64(Place.pd + 8 * 3, 0x60_0000n | 0x87n | (1n << 59n));
      m.processor.context.flushTlb();
      m.enterUser();
      m.state.gpr[6] = 0x60_0000n;
      m.state.gpr[7] = BigInt(Place.user + 0x1000);
      m.state.pkru = 0;
      m.processor.context.updatePkru();
      m.request(4);
      const at = Place.user + 0x1000;
      m.setU64(at + 512, 0x200n);
      m.setU64(at + 832, 4n);
      // mov ebx, [rsi]; then deny key 1; then the same again
      const change = deny === 'wrpkru' ? WRPKRU : `b8 00 02 00 00 ${XRSTOR}`;
      m.load(`8b 1e ${change} 8b 1e`, Place.user);
      const frame = m.event();
      expect(frame, deny).toMatchObject({ vector: 14, error: 0x25 });
      expect(m.state.cr2).toBe(0x60_0000n);
    }
  });

  it('RDPKRU and WRPKRU: #UD without CR4.PKE, #GP(0) unless ECX, and EDX, are zero', () => {
    const m = machine();
    m.request(0x1234);
    m.runTo(`${WRPKRU} 31 c0 ${RDPKRU}`);
    expect([m.gpr(0), m.gpr(2)]).toEqual([0x1234n, 0n]);
    for (const program of [RDPKRU, WRPKRU]) {
      const x = machine();
      x.state.gpr[1] = 1n;
      x.load(program);
      expect(x.event()).toMatchObject({ vector: GP, error: 0 });
      const y = machine();
      y.state.cr4 &= ~BigInt(Cr4.PKE);
      y.processor.context.updateMode();
      y.load(program);
      expect(y.event().vector).toBe(UD);
    }
  });
});

describe('RDRAND, RDSEED, RDPID (SDM vol. 2B)', () => {
  it('give numbers with CF set and the other status flags clear; RDPID gives IA32_TSC_AUX', () => {
    const m = new LongModeMachine();
    m.state.tscAux = 0x1234n;
    // cmp eax, eax; rdrand rbx; pushfq; rdseed cx; rdpid rdx; pop rsi; hlt
    m.state.gpr[1] = ONES;
    m.load('39 c0 48 0f c7 f3 9c 66 0f c7 f9 f3 0f c7 fa 5e f4');
    expect(m.run()).toBe('halt');
    expect(m.gpr(6) & 0x8d5n).toBe(1n);
    expect(m.gpr(3)).not.toBe(0n);
    expect(m.gpr(1) >> 16n).toBe(ONES >> 16n);
    expect(m.gpr(2)).toBe(0x1234n);
  });
});

describe('a model without a feature', () => {
  it.each([
    ['max,-avx', VPXOR],
    ['max,-xsave', XSAVE],
    ['max,-xsaveopt', XSAVEOPT],
    ['max,-fma', 'c4 e2 f1 98 c2'],
    ['max,-rdrand', '48 0f c7 f3'],
  ])('%s: its instructions are #UD', (cpu, program) => {
    const m = new XsaveMachine({ cpu });
    m.load(program);
    expect(m.event().vector).toBe(UD);
  });
});
