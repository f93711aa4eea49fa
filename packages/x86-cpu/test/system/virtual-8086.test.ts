/** Interrupt flags and software interrupts in virtual-8086 mode, and protected-mode virtual interrupts (SDM vol. 3 §21.2–21.4). */
import { beforeEach, describe, expect, it } from 'vitest';
import { Rflags, Seg } from '../../src/index.ts';
import { Attr, Cr4 } from '../../src/system/context.ts';
import { setSegment } from '../../src/system/segments.ts';
import { TIERS } from './engine.ts';
import { Place, ProtectedModeMachine } from './protected-mode.ts';

const GP = 13;
const UD = 6;
const UD2 = '0f 0b';
const CLI = 'fa';
const STI = 'fb';
const PUSHF = '9c';
const POPF = '9d';
const IRET = 'cf';
const INT = 'cd 21';
const INT3 = 'cc';
const IOPL3 = Rflags.IOPL;

const SEGMENT = 0x4000;
const LINEAR = SEGMENT << 4;
const START = 0x100;
const TOP = 0xffe;
const IO_MAP = 0x88;
const TSS_LIMIT = 0x2087;
/** The program's handler of INT 21h. */
const OWN = { segment: 0x4100, offset: 0x20 } as const;

class VirtualMachine extends ProtectedModeMachine {
  /** In virtual-8086 mode at 4000:0100, every byte of whose megabyte's pages it may use. */
  enterVirtual(program: string, flags: number, options: { vme?: boolean } = {}): void {
    const c = this.processor.context;
    const { state } = c;
    if (options.vme ?? true) state.cr4 |= BigInt(Cr4.VME);
    this.setU32(Place.directory, Place.table | 7);
    for (const page of [0, ...Array.from({ length: 32 }, (_, n) => LINEAR + n * 0x1000)]) this.setPte(page, page | 7);
    this.write(4 * 0x21, [OWN.offset, 0, OWN.segment & 0xff, OWN.segment >> 8]);
    this.write((OWN.segment << 4) + OWN.offset, [0x0f, 0x0b]);
    setSegment(c, Seg.TR, state.segSel[Seg.TR], BigInt(Place.tss), TSS_LIMIT, Attr.P | 11);
    this.write(Place.tss + 0x66, [IO_MAP & 0xff, IO_MAP >> 8]);
    const attr = Attr.P | Attr.S | 3 | (3 << Attr.DPL_SHIFT);
    for (const seg of [Seg.ES, Seg.CS, Seg.SS, Seg.DS, Seg.FS, Seg.GS]) setSegment(c, seg, SEGMENT, BigInt(LINEAR), 0xffff, attr);
    state.cpl = 3;
    state.gpr[4] = BigInt(TOP);
    c.rflags = Rflags.FIXED | Rflags.VM | flags;
    c.updateMmu();
    c.flushTlb();
    c.updateMode();
    this.load(program, LINEAR + START);
    state.rip = BigInt(START);
  }
  word(offset: number): number {
    return this.u32(LINEAR + offset) & 0xffff;
  }
  /** INT 21h goes to the monitor. */
  reserve(): void {
    this.write(Place.tss + IO_MAP - 32 + (0x21 >> 3), [1 << (0x21 & 7)]);
  }
}

describe.each(TIERS)('%s', (_name, options) => {
  let m: VirtualMachine;
  beforeEach(() => {
    m = new VirtualMachine(options);
  });
  const flagsAfter = (program: string, flags: number, vme = true): number => {
    m = new VirtualMachine(options);
    m.enterVirtual(`${program} ${UD2}`, flags, { vme });
    const frame = m.event();
    expect(frame.vector, 'the program ends at its UD2').toBe(UD);
    return frame.eflags;
  };
  const refused = (program: string, flags: number, vme = true): void => {
    m = new VirtualMachine(options);
    m.enterVirtual(program, flags, { vme });
    expect(m.event()).toMatchObject({ vector: GP, error: 0, eip: START, cs: SEGMENT });
  };

  it('with IOPL 3, CLI, STI, PUSHF and POPF work on IF itself', () => {
    expect(flagsAfter(CLI, IOPL3 | Rflags.IF) & Rflags.IF).toBe(0);
    expect(flagsAfter(STI, IOPL3) & Rflags.IF).toBe(Rflags.IF);
    expect(flagsAfter(`${PUSHF} ${POPF}`, IOPL3 | Rflags.IF | Rflags.CF) & (Rflags.IF | Rflags.CF)).toBe(Rflags.IF | Rflags.CF);
    expect(m.word(TOP - 2) & (Rflags.IOPL | Rflags.IF | 1)).toBe(IOPL3 | Rflags.IF | 1);
  });

  it('below IOPL 3 without VME they are #GP(0)', () => {
    for (const program of [CLI, STI, PUSHF, POPF, IRET, INT]) refused(program, 0, false);
  });

  it('with VME they work on VIF, and IF stays (tables 3-6, 4-19)', () => {
    expect(flagsAfter(CLI, Rflags.IF | Rflags.VIF) & (Rflags.IF | Rflags.VIF)).toBe(Rflags.IF);
    expect(flagsAfter(STI, 0) & (Rflags.IF | Rflags.VIF)).toBe(Rflags.VIF);
    const frame = flagsAfter(`${PUSHF} ${POPF}`, Rflags.VIF | Rflags.CF);
    expect(frame & (Rflags.IF | Rflags.VIF | Rflags.CF)).toBe(Rflags.VIF | Rflags.CF);
    expect(m.word(TOP - 2), 'VIF in IF’s place, IOPL 3').toBe(Rflags.FIXED | Rflags.IF | Rflags.CF | Rflags.IOPL);
    // push 0; popf
    expect(flagsAfter(`6a 00 ${POPF}`, Rflags.IF | Rflags.VIF) & (Rflags.IF | Rflags.VIF)).toBe(Rflags.IF);
  });

  it('with VME the 32-bit forms are #GP(0) all the same', () => {
    for (const program of [PUSHF, POPF, IRET]) refused(`66 ${program}`, Rflags.VIF);
  });

  it('letting in an interrupt that is pending, and TF in an image, are the monitor’s', () => {
    refused(STI, Rflags.VIP);
    for (const image of [Rflags.IF, Rflags.TF]) {
      m = new VirtualMachine(options);
      m.enterVirtual(
        `68 ${(image & 0xff).toString(16).padStart(2, '0')} 0${image >> 8} ${POPF}`,
        image === Rflags.IF ? Rflags.VIP : 0,
      );
      expect(m.event()).toMatchObject({ vector: GP, error: 0, eip: START + 3 });
    }
  });

  it('IRET takes VIF from its image', () => {
    // pushf image with IF; push cs; push ip of what follows
    const next = START + 11;
    m.enterVirtual(`68 01 02 68 00 40 68 ${(next - 1).toString(16).slice(-2)} 01 ${IRET} ${UD2}`, 0);
    const frame = m.event();
    expect(frame).toMatchObject({ vector: UD, eip: next - 1, cs: SEGMENT });
    expect(frame.eflags & (Rflags.IF | Rflags.VIF | Rflags.CF)).toBe(Rflags.VIF | Rflags.CF);
    expect(frame.esp).toBe(TOP);
  });

  it.each([
    ['IOPL 3', IOPL3 | Rflags.IF, Rflags.IF, Rflags.IF],
    ['IOPL 0', Rflags.IF | Rflags.VIF, Rflags.VIF, Rflags.IF],
  ])(
    'INT n whose bit of the redirection map is clear goes through the program’s table: %s (table 21-2)',
    (_what, flags, cleared, pushed) => {
      m.enterVirtual(INT, flags);
      const frame = m.event();
      expect(frame).toMatchObject({ vector: UD, eip: OWN.offset, cs: OWN.segment });
      expect(frame.eflags & cleared).toBe(0);
      expect([m.word(TOP - 2) & (Rflags.IF | Rflags.IOPL), m.word(TOP - 4), m.word(TOP - 6)]).toEqual([
        pushed | Rflags.IOPL,
        SEGMENT,
        START + 2,
      ]);
      expect(frame.esp).toBe(TOP - 6);
    },
  );

  it('whose bit is set: the IDT’s with IOPL 3, else #GP(0)', () => {
    m.setGate(0x21, { dpl: 3 });
    m.enterVirtual(INT, IOPL3);
    m.reserve();
    expect(m.event()).toMatchObject({ vector: 0x21, eip: START + 2, cs: SEGMENT });
    m = new VirtualMachine(options);
    m.enterVirtual(INT, 0);
    m.reserve();
    expect(m.event()).toMatchObject({ vector: GP, error: 0, eip: START });
  });

  it('INT3 and INTO do not ask for IOPL', () => {
    m.setGate(3, { dpl: 3 });
    m.setGate(4, { dpl: 3 });
    m.enterVirtual(INT3, 0);
    expect(m.event()).toMatchObject({ vector: 3, eip: START + 1 });
    m = new VirtualMachine(options);
    m.setGate(4, { dpl: 3 });
    m.enterVirtual('ce', Rflags.OF);
    expect(m.event()).toMatchObject({ vector: 4, eip: START + 1 });
  });

  it('with PVI, CLI and STI at CPL 3 work on VIF; without it they are #GP(0) (§21.4)', () => {
    const user = (program: string, flags: number, pvi: boolean) => {
      m = new VirtualMachine(options);
      if (pvi) m.state.cr4 |= BigInt(Cr4.PVI);
      m.enterUser();
      m.processor.context.rflags = Rflags.FIXED | flags;
      m.processor.context.updateMode();
      m.load(`${program} ${UD2}`, Place.user);
      return m.event();
    };
    expect(user(CLI, Rflags.VIF | Rflags.IF, true).eflags & (Rflags.VIF | Rflags.IF)).toBe(Rflags.IF);
    expect(user(STI, 0, true).eflags & (Rflags.VIF | Rflags.IF)).toBe(Rflags.VIF);
    expect(user(STI, Rflags.VIP, true)).toMatchObject({ vector: GP, eip: Place.user });
    for (const program of [CLI, STI]) expect(user(program, 0, false)).toMatchObject({ vector: GP, eip: Place.user });
  });
});
