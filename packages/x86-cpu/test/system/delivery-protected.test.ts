/** Events, IRET, SYSENTER and SYSEXIT of 32-bit protected mode: as generated code has them, and as TypeScript has. */
import { describe, expect, it } from 'vitest';
import { Rflags, Seg } from '../../src/index.ts';
import { Attr, Cr4 } from '../../src/system/context.ts';
import { setSegment } from '../../src/system/segments.ts';
import { all, bothWays, descriptorAt, flags, type Scenario, type Setup } from './both-ways.ts';
import { TIERS } from './engine.ts';
import { descriptor, handlerOf, hex, Page, Place, ProtectedModeMachine, Selector } from './protected-mode.ts';

const UD = 6;
const GATE = { task: 0x85, interrupt16: 0x86, trap16: 0x87, call: 0x8c, interrupt: 0x8e, trap: 0x8f } as const;
const FLAT = Attr.P | Attr.S | Attr.G | Attr.DB;
const DPL3 = 3 << Attr.DPL_SHIFT;
const LIMIT = 0xf_ffff;

describe.each(TIERS)('%s', (_, tier) => {
  const compare = (scenario: Scenario): ProtectedModeMachine => bothWays(tier, scenario);
  const gate = (vector: number, byte: number, selector: number = Selector.code, offset = handlerOf(vector)): Setup => {
    const hi = ((offset & 0xffff_0000) | (byte << 8)) >>> 0;
    return (m) => m.setU64(Place.idt + 8 * vector, (BigInt(hi) << 32n) | BigInt(selector * 0x1_0000 + (offset & 0xffff)));
  };
  const code = (base: number, limit: number, attr: number): Setup => descriptorAt(Selector.code, descriptor(base, limit, attr));
  const stack = (base: number, limit: number, attr: number): Setup => descriptorAt(Selector.data, descriptor(base, limit, attr));
  const unmapped: Setup = (m) => m.setPte(Place.data, 0);
  const loadNowhere = 'a1 08 00 04 00'; // mov eax, [data + 8]

  /** Copies the IDT to another alignment. */
  const moveIdt =
    (by: number): Setup =>
    (m) => {
      const table = new Uint8Array(0x800);
      m.guest.read(Place.idt, table);
      m.write(Place.idt + by, table);
      m.state.idtrBase = BigInt(Place.idt + by);
    };

  describe.each([
    ['from CPL 3', true],
    ['from CPL 0', false],
  ])('an exception %s (SDM vol. 3 §6.12.1)', (_name, user) => {
    const scenarios: [string, Scenario][] = [
      ['without an error code', { usual: true }],
      ['with an error code and CR2', { program: loadNowhere, setup: unmapped, usual: true }],
      ['through a trap gate, which leaves IF', { setup: all(gate(UD, GATE.trap), flags(Rflags.IF)), usual: true }],
      ['through an interrupt gate, which clears IF', { setup: flags(Rflags.IF), usual: true }],
      ['through a gate of DPL 3', { setup: (m) => m.setGate(UD, { dpl: 3 }), usual: true }],
      ['with every status flag set', { setup: flags(0x8d5), usual: true }],
      ['with DF, AC, ID and RF set', { setup: flags(Rflags.DF | Rflags.AC | Rflags.ID | Rflags.RF), usual: true }],
      ['with NT set, which the handler has clear', { setup: flags(Rflags.NT), usual: true }],
      ['with TF set', { setup: flags(Rflags.TF) }],
      ['with a selector that has RPL 3', { setup: gate(UD, GATE.interrupt, Selector.code | 3), usual: true }],
      ['gate not present: #NP', { setup: gate(UD, GATE.interrupt & ~0x80) }],
      ['16-bit interrupt gate', { setup: gate(UD, GATE.interrupt16), usual: false }],
      ['16-bit trap gate', { setup: gate(UD, GATE.trap16), usual: false }],
      ['task gate', { setup: gate(UD, GATE.task), usual: false }],
      ['call gate: #GP', { setup: gate(UD, GATE.call) }],
      ['gate beyond the limit of the IDT: shutdown', { setup: (m) => void (m.state.idtrLimit = 8 * UD + 6), usual: false }],
      ['gate of a vector just within the limit', { setup: (m) => void (m.state.idtrLimit = 8 * UD + 7), usual: true }],
      ['code selector null: #GP', { setup: gate(UD, GATE.interrupt, 3) }],
      ['code selector beyond the GDT: #GP', { setup: gate(UD, GATE.interrupt, 0x80) }],
      ['code selector of the LDT: #GP', { setup: gate(UD, GATE.interrupt, 0xc) }],
      ['code selector of a data segment: #GP', { setup: gate(UD, GATE.interrupt, Selector.data) }],
      ['code selector of DPL 3', { setup: gate(UD, GATE.interrupt, Selector.userCode) }],
      ['code segment not present: #NP', { setup: code(0, LIMIT, (FLAT | 0xb) & ~Attr.P), usual: false }],
      ['code segment never accessed', { setup: code(0, LIMIT, FLAT | 0xa), usual: false }],
      ['code segment with AVL', { setup: code(0, LIMIT, FLAT | 0xb | Attr.AVL), usual: false }],
      ['code segment with a base', { setup: code(0x10, LIMIT, FLAT | 0xb), usual: false }],
      ['code segment with a limit', { setup: code(0, LIMIT - 1, FLAT | 0xb), usual: false }],
      ['16-bit code segment', { setup: code(0, LIMIT, (FLAT | 0xb) & ~Attr.DB), usual: false }],
      ['conforming code segment', { setup: code(0, LIMIT, FLAT | 0xf) }],
      ['IDT at an odd place', { setup: moveIdt(4), usual: true }],
      ['IDT with a gate in two pages', { setup: moveIdt(0xfcc), usual: false }],
      ['IDT not mapped: shutdown', { setup: (m) => void (m.state.idtrBase = 0x7f00_0000n), usual: false }],
      ['IDT at the end of 4 GiB', { setup: (m) => void (m.state.idtrBase = 0xffff_fff8n), usual: false }],
      ['GDT not mapped: shutdown', { setup: (m) => void (m.state.gdtrBase = 0x7f00_0000n), usual: false }],
      ['GDT at the end of 4 GiB', { setup: (m) => void (m.state.gdtrBase = 0xffff_fff8n), usual: false }],
      ['in the middle of a block', { program: '90 90 0f 0b 90', usual: true }],
      ['by CR4.SMAP left to TypeScript', { setup: (m) => void (m.state.cr4 |= BigInt(Cr4.SMAP)), usual: false }],
      ['with FS and GS flat', { setup: flatSpecial, usual: true }],
      ['with DS null', { setup: (m) => setSegment(m.processor.context, Seg.DS, 0, 0n, 0, 0), usual: false }],
      ['a fault of fetching', { program: 'e9 fb ff 7f 00' }],
    ];
    it.each(scenarios)('%s', (_scenario, scenario) => void compare({ ...scenario, user }));
  });

  function flatSpecial({ processor }: ProtectedModeMachine): void {
    for (const seg of [Seg.FS, Seg.GS]) setSegment(processor.context, seg, Selector.userData, 0n, 0xffff_ffff, FLAT | 3 | DPL3);
  }

  describe('the stack', () => {
    const ESP0 = Place.tss + 4;
    const SS0 = Place.tss + 8;
    const esp0 =
      (value: number): Setup =>
      (m) =>
        m.setU32(ESP0, value);
    const ss0 =
      (selector: number): Setup =>
      (m) =>
        m.setU32(SS0, selector);

    it.each<[string, Setup, boolean?]>([
      ['misaligned', esp0(Place.esp0 - 3), true],
      ['that ends with its page', esp0(Place.esp0), true],
      ['in two pages', esp0(Place.esp0 + 8), false],
      ['at the very bottom', esp0(20)],
      ['below the bottom', esp0(8), false],
      ['at 0, where it wraps', esp0(0), false],
      ['not mapped: #PF, #DF', all(esp0(Place.esp0), (m) => m.setPte(Place.esp0 - 0x1000, 0)), false],
      ['read-only', all(esp0(Place.esp0), (m) => m.setPte(Place.esp0 - 0x1000, (Place.esp0 - 0x1000) | Page.P)), false],
      ['of a null selector: #TS', ss0(0), false],
      ['of a selector with RPL 3: #TS', ss0(Selector.data | 3), false],
      ['of a DPL 3 segment: #TS', ss0(Selector.userData), false],
      ['of the LDT: #TS', ss0(Selector.data | 4), false],
      ['of a code segment: #TS', ss0(Selector.code), false],
      ['beyond the GDT: #TS', ss0(0x80), false],
      ['with a segment never accessed', stack(0, LIMIT, FLAT | 2), false],
      ['with a segment that is not writable', stack(0, LIMIT, FLAT | 1), false],
      ['with a segment not present', stack(0, LIMIT, (FLAT | 3) & ~Attr.P), false],
      ['with a segment that has a base', stack(0x100, LIMIT, FLAT | 3), false],
      ['with a segment that has a limit', stack(0, 0xff, FLAT | 3), false],
      ['with a 16-bit segment', stack(0, LIMIT, (FLAT | 3) & ~Attr.DB), false],
      ['with an expand-down segment', stack(0, 0, FLAT | 7), false],
      ['of a TSS that is too short: #TS', (m) => void (m.state.segLimit[Seg.TR] = 8), false],
      ['of a TSS that is just long enough', (m) => void (m.state.segLimit[Seg.TR] = 9), true],
      ['of a 16-bit TSS', (m) => void (m.state.segAttr[Seg.TR] = Attr.P | 3), false],
      ['where translated code is', all(esp0(handlerOf(UD) + 0x40), (m) => m.write(handlerOf(UD), hex('90 f4')))],
    ])('%s', (_name, setup, usual) => {
      compare({ user: true, setup, usual });
      compare({ user: true, program: loadNowhere, setup });
    });

    it('in use at CPL 0: wherever it is', () => {
      for (const esp of [Place.stack - 1, Place.stack + 4, Place.stack + 8, Place.stack + 12, Place.stack + 16, 16, 12, 8, 0])
        compare({ setup: (m) => void (m.state.gpr[4] = BigInt(esp)) });
    });
  });

  it('a hardware interrupt, from both privileges, and an NMI', () => {
    for (const user of [false, true]) {
      const program = 'eb fe';
      const waiting = all(flags(Rflags.IF | Rflags.CF), (m) => void m.interrupts.push(0x40));
      const interrupted = compare({ user, program, setup: waiting });
      expect(interrupted.state.rip).toBe(BigInt(handlerOf(0x40) + 1));
      const nmi = compare({ user, program, setup: (m) => void (m.nmi = true) });
      expect(nmi.state.rip).toBe(BigInt(handlerOf(2) + 1));
      expect(nmi.state.nmiBlocked).toBe(1);
      compare({ user, program, setup: all(waiting, gate(0x40, GATE.interrupt & ~0x80)) });
    }
  });

  it('INT n needs a gate of DPL 3 at CPL 3 (SDM vol. 3 §6.12.1.1)', () => {
    for (const user of [true, false]) {
      for (const byte of [
        GATE.interrupt,
        GATE.interrupt | 0x60,
        GATE.trap | 0x60,
        GATE.interrupt | 0x20,
        0x0e,
        GATE.trap16 | 0x60,
      ])
        compare({ user, program: '90 cd 80', setup: all(gate(0x80, byte), flags(Rflags.IF | 0xd5)) });
      const machine = compare({ user, program: '90 cd 80', setup: gate(0x80, GATE.interrupt | 0x60), usual: true });
      expect(machine.state.rip).toBe(BigInt(handlerOf(0x80) + 1));
    }
    for (const program of ['cc', 'ce', 'f1']) compare({ user: true, program, setup: flags(Rflags.OF) });
  });

  it('a handler that returns behind the instruction: a thousand faults in one run', () => {
    const machine = new ProtectedModeMachine(tier);
    machine.load('b9 e8 03 00 00  0f 0b  49 75 fb  f4', Place.code); // mov ecx, 1000; ud2; dec ecx; jnz; hlt
    machine.write(handlerOf(UD), hex('83 04 24 02 43 cf')); // add dword [esp], 2; inc ebx; iret
    expect(machine.run()).toBe('halt');
    expect(machine.gpr(3)).toBe(1000n);
    expect(machine.processor.instructions).toBe(1 + 1000 * 2 + 1000 * 3 + 1);
    expect(machine.processor.stats()).toMatchObject({ faults: 1000, system: 1 });
    expect(machine.processor.stats().exits).toBeLessThan(20);
  });

  describe('IRETD (SDM vol. 2A, IRET)', () => {
    type Frame = { eip: number; cs: number; eflags: number; esp: number; ss: number };
    const kernelFrame: Frame = { eip: handlerOf(0xf0), cs: Selector.code, eflags: 2, esp: 0x1234, ss: Selector.data };
    const userFrame: Frame = { eip: Place.user, cs: Selector.userCode, eflags: 2, esp: Place.userStack, ss: Selector.userData };
    const frameAt = (at: number, { eip, cs, eflags, esp, ss }: Frame): Setup => {
      return (m) => {
        m.write(Place.user, [0x0f, 0x0b]);
        [eip, cs, eflags, esp, ss].forEach((word, n) => m.setU32(at + 4 * n, word));
        m.state.gpr[4] = BigInt(at);
        // What a kernel has in them when it returns.
        for (const seg of [Seg.DS, Seg.ES])
          setSegment(m.processor.context, seg, Selector.userData, 0n, 0xffff_ffff, FLAT | 3 | DPL3);
      };
    };
    const returnWith = (frame: Frame, extra: Setup = () => undefined, usual?: boolean, program = 'cf'): ProtectedModeMachine =>
      compare({ program, setup: all(frameAt(Place.stack - 0x100, frame), extra), usual });
    const frames: [string, Frame][] = [
      ['CPL 0', kernelFrame],
      ['CPL 3', userFrame],
    ];

    it('within CPL 0, and to CPL 3', () => {
      const kernel = returnWith(kernelFrame, undefined, true);
      expect(kernel.state.rip).toBe(BigInt(kernelFrame.eip + 1));
      expect(kernel.gpr(4)).toBe(BigInt(Place.stack - 0x100 + 12));
      const user = returnWith(userFrame, undefined, true);
      expect(user.state.rip).toBe(BigInt(handlerOf(UD) + 1));
      expect(user.u32(Place.esp0 - 8)).toBe(Place.userStack);
    });

    it.each(frames)('the flags it takes at %s', (_to, frame) => {
      // VM alone leads to virtual-8086 mode.
      for (let bit = 0; bit < 32; bit++) returnWith({ ...frame, eflags: (2 | (1 << bit)) >>> 0 });
      returnWith({ ...frame, eflags: 0x24_4ed7 }, flags(Rflags.AC | Rflags.ID | Rflags.IOPL | Rflags.CF));
    });

    it.each(frames)('what is wrong with a frame for %s', (_to, frame) => {
      for (const eip of [0xffff_ffff, 0x7f00_0000]) returnWith({ ...frame, eip });
      for (const cs of [
        0, 1, 3, 4, 9, 0x0b, 0x0c, 0x10, 0x13, 0x18, 0x19, 0x1a, 0x1f, 0x23, 0x28, 0x30, 0x33, 0x80, 0xfff8, 0x1_001b,
      ])
        returnWith({ ...frame, cs });
      for (const ss of [0, 1, 3, 4, 0x08, 0x0b, 0x10, 0x13, 0x18, 0x1b, 0x20, 0x21, 0x22, 0x27, 0x28, 0x80, 0xfff8, 0x1_0023])
        returnWith({ ...frame, ss });
      for (const esp of [0, 1, 0xffff_ffff]) returnWith({ ...frame, esp });
    });

    it('descriptors that say something else', () => {
      const codes = [FLAT | 0xa, FLAT | 0xb | Attr.AVL, (FLAT | 0xb) & ~Attr.DB, (FLAT | 0xb) & ~Attr.P, FLAT | 0xf, FLAT | 9];
      const stacks = [FLAT | 2, FLAT | 3 | Attr.AVL, (FLAT | 3) & ~Attr.DB, (FLAT | 3) & ~Attr.P, FLAT | 1, FLAT | 7];
      for (const attr of codes) {
        returnWith(userFrame, descriptorAt(Selector.userCode, descriptor(0, LIMIT, attr | DPL3)));
        returnWith(kernelFrame, code(0, LIMIT, attr));
      }
      for (const attr of stacks) returnWith(userFrame, descriptorAt(Selector.userData, descriptor(0, LIMIT, attr | DPL3)));
      returnWith(userFrame, descriptorAt(Selector.userCode, descriptor(0x10, LIMIT, FLAT | 0xb | DPL3)));
      returnWith(userFrame, descriptorAt(Selector.userData, descriptor(0, 0xfff, FLAT | 3 | DPL3)));
      returnWith(userFrame, (m) => void (m.state.gdtrLimit = 0x1e));
      returnWith(userFrame, (m) => void (m.state.gdtrBase = 0x7f00_0000n));
      returnWith(userFrame, (m) => void (m.state.gdtrBase = 0xffff_fff0n));
    });

    it('segments that CPL 3 may not keep become null (SDM vol. 3 §5.8.1)', () => {
      for (const seg of [Seg.DS, Seg.ES, Seg.FS, Seg.GS]) {
        for (const dpl of [0, 1, 2, 3]) {
          const attr = FLAT | 3 | (dpl << Attr.DPL_SHIFT);
          const machine = returnWith(userFrame, (m) => setSegment(m.processor.context, seg, 0x10, 0n, 0xffff_ffff, attr));
          expect(machine.state.segSel[seg]).toBe(dpl === 3 ? 0x10 : 0);
        }
      }
    });

    it('flags that an instruction before it left are gone', () => {
      for (const [, frame] of frames) {
        for (const eflags of [2, 0x8d7]) {
          // add eax, ebx; sub eax, ebx: two ways to leave flags behind
          for (const program of ['01 d8 cf', '29 d8 cf']) returnWith({ ...frame, eflags }, undefined, true, program);
          returnWith({ ...frame, eflags, cs: 0 }, undefined, undefined, '01 d8 cf');
        }
      }
    });

    it('a nested task, and an operand size of 16 bits', () => {
      returnWith(userFrame, flags(Rflags.NT));
      returnWith(kernelFrame, undefined, undefined, '66 cf');
    });

    it('a frame in two pages, misaligned, not mapped, or at the end of 4 GiB', () => {
      for (const place of [0xfec, 0xfed, 0xff0, 0xff4, 0xff5, 0xff8, 0x123]) {
        for (const [, frame] of frames) compare({ program: 'cf', setup: frameAt(Place.stack - 0x1000 + place, frame) });
      }
      compare({ program: 'cf', setup: all(frameAt(Place.data, kernelFrame), unmapped) });
      compare({ program: 'cf', setup: (m) => void (m.state.gpr[4] = 0xffff_fff8n) });
    });

    it('NMIs are unblocked, and an interrupt that waited for IF comes', () => {
      const machine = returnWith({ ...userFrame, eflags: 0x202 }, (m) => {
        m.state.nmiBlocked = 1;
        m.interrupts.push(0x40);
      });
      expect(machine.state.nmiBlocked).toBe(0);
      expect(machine.state.rip).toBe(BigInt(handlerOf(0x40) + 1));
    });
  });

  describe('SYSENTER and SYSEXIT (SDM vol. 2B)', () => {
    const model: Setup = (m) => {
      m.state.sysenterCs = BigInt(Selector.code);
      m.state.sysenterEsp = BigInt(Place.esp0);
      m.state.sysenterEip = BigInt(Place.code);
      m.write(Place.code, hex('89 e6 f4')); // mov esi, esp; hlt
    };
    const leaving: Setup = all(model, (m) => {
      m.write(Place.code, hex('90 0f 35')); // nop; sysexit
      m.write(Place.user, hex('0f 0b'));
      m.state.gpr[1] = BigInt(Place.userStack);
      m.state.gpr[2] = BigInt(Place.user);
    });

    it('into CPL 0, whatever the flags and segments are', () => {
      for (const image of [0, Rflags.IF, 0xcd5 | Rflags.IF | Rflags.NT, Rflags.TF]) {
        const usual = image & Rflags.TF ? undefined : true;
        compare({ user: true, program: '0f 34', setup: all(model, flags(image)), usual });
        compare({ user: true, program: '90 90 0f 34', setup: all(model, flatSpecial, flags(image)), usual });
      }
      compare({ program: '0f 34', setup: all(model, (m) => m.load('0f 34', Place.handlers - 16)) });
    });

    it('out to CPL 3', () => {
      for (const image of [0, Rflags.IF, 0xcd5 | Rflags.NT])
        compare({ program: '90', setup: all(leaving, flags(image)), usual: true });
      compare({ program: '90', setup: all(leaving, flatSpecial), usual: true });
      const kept = compare({
        program: '90',
        setup: all(leaving, (m) => setSegment(m.processor.context, Seg.FS, 0x10, 0n, 0xffff_ffff, FLAT | 3)),
      });
      expect(kept.state.segSel[Seg.FS]).toBe(0x10);
    });

    it('with no code segment, from the wrong privilege, and in an interrupt shadow', () => {
      const without: Setup = (m) => void (m.state.sysenterCs = 3n);
      compare({ user: true, program: '0f 34', setup: all(model, without) });
      compare({ program: '90', setup: all(leaving, without) });
      compare({ user: true, program: '0f 35', setup: model });
      compare({
        program: '90',
        setup: all(
          leaving,
          (m) => m.write(Place.code, hex('fb 0f 35')),
          (m) => void m.interrupts.push(0x40),
        ),
      });
    });

    it('again and again', () => {
      const machine = new ProtectedModeMachine(tier);
      leaving(machine);
      machine.load('89 e2 83 c2 00 0f 34', Place.user); // a system call whose EDX is ESP
      machine.write(Place.user, hex('43 89 e1 ba 00 00 40 00 0f 34')); // inc ebx; mov ecx, esp; mov edx, user; sysenter
      machine.write(Place.code, hex('81 fb e8 03 00 00 74 02 0f 35 f4')); // cmp ebx, 1000; je; sysexit; hlt
      machine.enterUser();
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(3)).toBe(1000n);
      expect(machine.processor.instructions).toBe(4 * 1000 + 3 * 999 + 3);
      expect(machine.processor.stats().system).toBe(1);
    });
  });
});
