/**
 * Events and IRET have a short path in generated code, for what operating systems do all the time, and a general one in TypeScript for all
 * else. Whichever is taken, the processor and its memory must end up the same: each scenario runs both ways.
 */
import { describe, expect, it } from 'vitest';
import { Rflags, Seg } from '../../src/index.ts';
import { Attr } from '../../src/system/context.ts';
import { setSegment } from '../../src/system/segments.ts';
import { TIERS } from './engine.ts';
import { handlerOf, hex, LongModeMachine, Page, Place, Selector } from './long-mode.ts';
import { picture } from './picture.ts';

/** The tables, and the memory that events write to. */
const RANGES = [
  [Place.gdt, Place.pt + 0x1000],
  ...[Place.stack, Place.rsp0, Place.ist1, Place.userStack].map((top) => [top - 0x200, top + 0x100] as const),
] as const;

type Setup = (machine: LongModeMachine) => void;
type Scenario = {
  readonly user?: boolean;
  readonly program?: string;
  readonly setup?: Setup;
  readonly usual?: boolean | undefined;
};

describe.each(TIERS)('%s', (_, tier) => {
  /** Runs a program both ways; the first machine's way is the one taken by itself. */
  function compare({ user = false, program = '0f 0b', setup, usual }: Scenario): LongModeMachine {
    const [own, general] = [false, true].map((avoid) => {
      const machine = new LongModeMachine(tier);
      machine.load(program, user ? Place.user : Place.code);
      if (user) machine.enterUser();
      setup?.(machine);
      // No mode has these keys, so nothing is taken for usual until the general path has changed the mode.
      if (avoid) machine.state.userKey = machine.state.kernelKey = 0;
      return { machine, picture: picture(machine, machine.run(10_000), RANGES) };
    });
    expect(own.picture).toEqual(general.picture);
    if (usual !== undefined) expect(own.machine.processor.stats().exits < general.machine.processor.stats().exits).toBe(usual);
    return own.machine;
  }

  const gateByte = (vector: number, offset: number, value: number): Setup => {
    return (machine) => machine.write(Place.idt + 16 * vector + offset, [value]);
  };
  const descriptor = (selector: number, value: bigint): Setup => {
    return (machine) => machine.setU64(Place.gdt + (selector & ~7), value);
  };
  const flags = (image: number): Setup => {
    return (machine) => {
      machine.processor.context.rflags = image | Rflags.FIXED;
    };
  };
  const all = (...setups: Setup[]): Setup => {
    return (machine) => {
      for (const setup of setups) setup(machine);
    };
  };
  const UD = 6;
  const PF = 14;
  const NM = 7;
  const loadNowhere = '48 8b 04 25 08 00 04 00'; // mov rax, [0x40008]
  const unmapped: Setup = (machine) => machine.setPte(Place.data, 0n);

  describe.each([
    ['from CPL 3', true],
    ['from CPL 0', false],
  ])('an exception %s (SDM vol. 3 §6.14)', (_name, user) => {
    const scenarios: [string, Scenario][] = [
      ['without an error code', { usual: true }],
      ['with an error code and CR2', { program: loadNowhere, setup: unmapped, usual: true }],
      ['on an IST stack', { setup: (m) => m.setGate(UD, { ist: 1 }), usual: true }],
      [
        'with an error code on an IST stack',
        { program: loadNowhere, setup: all(unmapped, (m) => m.setGate(PF, { ist: 1 })), usual: true },
      ],
      ['through a trap gate, which leaves IF', { setup: all(gateByte(UD, 5, 0x8f), flags(Rflags.IF)), usual: true }],
      ['through an interrupt gate, which clears IF', { setup: flags(Rflags.IF), usual: true }],
      ['through a gate of DPL 3', { setup: (m) => m.setGate(UD, { dpl: 3 }), usual: true }],
      ['with every status flag set', { setup: flags(0x8d5), usual: true }],
      ['with DF, AC, ID and RF set', { setup: flags(Rflags.DF | Rflags.AC | Rflags.ID | Rflags.RF), usual: true }],
      ['with NT set, which the handler has clear', { setup: flags(Rflags.NT), usual: true }],
      ['with TF set', { setup: all(flags(Rflags.TF), (m) => m.processor.context.updateMode()) }],
      ['with a selector that has RPL 3', { setup: (m) => m.setGate(UD, { selector: Selector.code | 3 }), usual: true }],
      ['gate not present: #NP', { setup: (m) => m.setGate(UD, { present: false }), usual: false }],
      ['gate of another type: #GP', { setup: gateByte(UD, 5, 0x8c), usual: false }],
      ['gate beyond the limit of the IDT: shutdown', { setup: (m) => void (m.state.idtrLimit = 16 * UD + 14), usual: false }],
      ['gate of a vector just within the limit', { setup: (m) => void (m.state.idtrLimit = 16 * UD + 15), usual: true }],
      ['code selector null: #GP', { setup: (m) => m.setGate(UD, { selector: 3 }), usual: false }],
      ['code selector beyond the GDT: #GP', { setup: (m) => m.setGate(UD, { selector: 0x80 }), usual: false }],
      ['code selector of the LDT: #GP', { setup: (m) => m.setGate(UD, { selector: 0xc }), usual: false }],
      ['code selector of a data segment: #GP', { setup: (m) => m.setGate(UD, { selector: Selector.data }), usual: false }],
      ['code segment not present: #NP', { setup: descriptor(Selector.code, 0x00af_1b00_0000_ffffn), usual: false }],
      ['code segment never accessed', { setup: descriptor(Selector.code, 0x00af_9a00_0000_ffffn), usual: false }],
      ['code segment with AVL', { setup: descriptor(Selector.code, 0x00bf_9b00_0000_ffffn), usual: false }],
      ['code segment with a base', { setup: descriptor(Selector.code, 0x00af_9b12_3456_ffffn), usual: false }],
      ['conforming code segment', { setup: descriptor(Selector.code, 0x00af_9f00_0000_ffffn) }],
      ['32-bit code segment: #GP', { setup: descriptor(Selector.code, 0x00cf_9b00_0000_ffffn), usual: false }],
      ['handler outside the canonical addresses: #GP', { setup: gateByte(UD, 11, 0x12), usual: false }],
      ['IDT aligned to 8 only', { setup: all((m) => moveIdt(m, 8)), usual: false }],
      ['IDT not mapped: shutdown', { setup: (m) => void (m.state.idtrBase = 0x7f00_0000_0000n), usual: false }],
      ['IDT outside the canonical addresses: shutdown', { setup: (m) => void (m.state.idtrBase = 1n << 62n), usual: false }],
      [
        'IST pointer not canonical: #SS',
        {
          setup: all(
            (m) => m.setGate(UD, { ist: 1 }),
            (m) => m.setU64(Place.tss + 0x24, 1n << 50n),
          ),
          usual: false,
        },
      ],
      [
        'IST beyond the TSS: #TS',
        {
          setup: all(
            (m) => m.setGate(UD, { ist: 7 }),
            (m) => void (m.state.segLimit[Seg.TR] = 0x5a),
          ),
          usual: false,
        },
      ],
      [
        'IST stack in two pages',
        {
          setup: all(
            (m) => m.setGate(UD, { ist: 1 }),
            (m) => m.setU64(Place.tss + 0x24, BigInt(Place.ist1 + 0x10)),
          ),
          usual: false,
        },
      ],
      [
        'IST stack that ends with its page',
        {
          setup: all(
            (m) => m.setGate(UD, { ist: 1 }),
            (m) => m.setU64(Place.tss + 0x24, BigInt(Place.ist1 + 0x1000)),
          ),
          usual: true,
        },
      ],
      [
        'IST stack not mapped: #PF',
        {
          setup: all(
            (m) => m.setGate(UD, { ist: 1 }),
            (m) => m.setPte(Place.ist1 - 0x1000, 0n),
          ),
          usual: false,
        },
      ],
      [
        'IST stack read-only: #PF',
        {
          setup: all(
            (m) => m.setGate(UD, { ist: 1 }),
            (m) => m.setPte(Place.ist1 - 0x1000, BigInt(Place.ist1 - 0x1000) | Page.P),
          ),
          usual: false,
        },
      ],
      [
        '#PF with its stack not mapped: #DF',
        {
          program: loadNowhere,
          setup: all(
            unmapped,
            (m) => m.setGate(PF, { ist: 1 }),
            (m) => m.setPte(Place.ist1 - 0x1000, 0n),
          ),
          usual: false,
        },
      ],
      [
        '#PF and #DF without a stack: shutdown',
        {
          program: loadNowhere,
          setup: all(
            unmapped,
            (m) => m.setGate(PF, { ist: 1 }),
            (m) => m.setGate(8, { ist: 1 }),
            (m) => m.setPte(Place.ist1 - 0x1000, 0n),
          ),
          usual: false,
        },
      ],
      [
        '#NM, known at translation',
        {
          program: 'd9 e8',
          setup: (m) => {
            m.state.cr0 |= 8n;
            m.processor.context.updateMode();
          },
          usual: true,
        },
      ],
      [
        'a fault of fetching',
        {
          program: 'e9 00 00 10 00',
          setup: (m) => m.setU64(Place.pd + 8, BigInt(Place.user) | Page.P | Page.RW | Page.US | Page.PS | (user ? 0n : Page.NX)),
        },
      ],
      ['in the middle of a block', { program: '90 90 0f 0b 90', usual: true }],
      ['not canonical: #GP, or #SS through RSP', { program: '48 b8 00 00 00 00 00 00 00 80 48 8b 18', usual: false }],
    ];
    it.each(scenarios)('%s', (_scenario, scenario) => void compare({ ...scenario, user }));

    it('the stack pointer is aligned to 16 first, whatever it was', () => {
      for (let n = 0; n < 16; n++) compare({ user, setup: (m) => void (m.state.gpr[4] = BigInt(Place.stack + n)), usual: true });
    });

    it('the stack may be where translated code is', () => {
      compare({
        user,
        program: `90 0f 0b`,
        setup: all(
          (m) => m.setGate(UD, { ist: 1 }),
          (m) => m.setU64(Place.tss + 0x24, BigInt(handlerOf(UD) + 0x40)),
        ),
      });
    });
  });

  /** Copies the IDT to another alignment. */
  function moveIdt(machine: LongModeMachine, by: number): void {
    const table = new Uint8Array(0x800);
    machine.guest.read(Place.idt, table);
    machine.write(Place.idt + by, table);
    machine.state.idtrBase = BigInt(Place.idt + by);
  }

  it('RSP0 not canonical: #SS, then #DF (SDM vol. 3 §6.14.2)', () => {
    compare({ user: true, setup: (m) => m.setU64(Place.tss + 4, 1n << 50n), usual: false });
    compare({ user: true, setup: (m) => void (m.state.segLimit[Seg.TR] = 10), usual: false });
  });

  it('a hardware interrupt, from both privileges, and an NMI', () => {
    for (const user of [false, true]) {
      const program = 'eb fe';
      const interrupted = compare({
        user,
        program,
        setup: all(flags(Rflags.IF | Rflags.CF), (m) => void m.interrupts.push(0x40)),
      });
      expect(interrupted.state.rip).toBe(BigInt(handlerOf(0x40) + 1));
      const nmi = compare({ user, program, setup: (m) => void (m.nmi = true) });
      expect(nmi.state.rip).toBe(BigInt(handlerOf(2) + 1));
      expect(nmi.state.nmiBlocked).toBe(1);
      compare({
        user,
        program,
        setup: all(
          flags(Rflags.IF),
          (m) => m.setGate(0x40, { present: false }),
          (m) => void m.interrupts.push(0x40),
        ),
      });
    }
  });

  it('instructions that a faulting block did not run are not counted', () => {
    const machine = compare({ program: '90 90 0f 0b 90 90', usual: true });
    expect(machine.processor.instructions).toBe(3); // two NOPs, and the handler's HLT
  });

  it('a handler that faults at its first instruction does not keep the run from ending', () => {
    const machine = new LongModeMachine(tier);
    machine.load('0f 0b');
    machine.write(handlerOf(UD), hex('0f 0b'));
    machine.setGate(UD, { ist: 1 });
    expect(machine.run(3000)).toBe('budget');
  });

  it('a handler that returns behind the instruction: a thousand faults in one run', () => {
    const machine = new LongModeMachine(tier);
    machine.load('b9 e8 03 00 00  0f 0b  ff c9 75 fa  f4', Place.code); // mov ecx, 1000; ud2; dec ecx; jnz; hlt
    machine.write(handlerOf(UD), hex('48 83 04 24 02 ff c3 48 cf')); // add qword [rsp], 2; inc ebx; iretq
    expect(machine.run()).toBe('halt');
    expect(machine.gpr(3)).toBe(1000n);
    expect(machine.processor.stats().faults).toBe(1000);
    expect(machine.processor.instructions).toBe(1 + 1000 * 2 + 1000 * 3 + 1);
    expect(machine.processor.stats().exits).toBeLessThan(20);
  });

  describe('IRETQ (SDM vol. 2A, IRET)', () => {
    type Frame = { rip?: bigint; cs?: number; rflags?: number; rsp?: bigint; ss?: number };
    const kernelFrame = {
      rip: BigInt(handlerOf(0xf0)),
      cs: Selector.code as number,
      rflags: 2,
      rsp: BigInt(Place.ist1),
      ss: Selector.data as number,
    };
    const userFrame = {
      rip: BigInt(Place.user),
      cs: Selector.userCode as number,
      rflags: 2,
      rsp: BigInt(Place.userStack),
      ss: Selector.userData as number,
    };
    const at = Place.stack - 0x100;
    const withFrame = (frame: Required<Frame>, extra?: Setup): Setup => {
      return (machine) => {
        machine.write(Place.user, [0x0f, 0x0b]);
        const words = [frame.rip, BigInt(frame.cs), BigInt(frame.rflags), frame.rsp, BigInt(frame.ss)];
        words.forEach((word, n) => machine.setU64(at + 8 * n, word));
        machine.state.gpr[4] = BigInt(at);
        // What a kernel has in them: null, or segments that CPL 3 may keep.
        for (const seg of [Seg.DS, Seg.ES, Seg.FS, Seg.GS]) setSegment(machine.processor.context, seg, 0, 0n, 0, 0);
        extra?.(machine);
      };
    };
    const returnWith = (frame: Required<Frame>, extra?: Setup, usual?: boolean): LongModeMachine =>
      compare({ program: '48 cf', setup: withFrame(frame, extra), usual });

    it('within CPL 0, with any of its stack segments', () => {
      for (const ss of [Selector.data, 0]) returnWith({ ...kernelFrame, ss }, undefined, undefined);
      const machine = returnWith(kernelFrame);
      expect(machine.state.rip).toBe(kernelFrame.rip + 1n);
      expect(machine.gpr(4)).toBe(kernelFrame.rsp);
    });

    it('to CPL 3', () => {
      const machine = returnWith(userFrame);
      expect(machine.state.rip).toBe(BigInt(handlerOf(UD) + 1));
      expect(machine.u64(Place.rsp0 - 8)).toBe(BigInt(Selector.userData));
    });

    it.each([
      ['CPL 0', kernelFrame],
      ['CPL 3', userFrame],
    ])('the flags it takes at %s', (_to, frame) => {
      for (let bit = 0; bit < 32; bit++) returnWith({ ...frame, rflags: (2 | (1 << bit)) >>> 0 });
      returnWith({ ...frame, rflags: 0x24_4ed7 }, flags(Rflags.AC | Rflags.ID | Rflags.IOPL | Rflags.CF));
    });

    it.each([
      ['CPL 0', kernelFrame],
      ['CPL 3', userFrame],
    ])('what is wrong with a frame for %s', (_to, frame) => {
      for (const rip of [1n << 47n, 0x8000_0000_0000_0000n, 0xffff_8000_0000_0000n, 0x7fff_ffff_ffffn])
        returnWith({ ...frame, rip });
      for (const cs of [
        0, 1, 2, 3, 4, 0x0b, 0x0c, 0x20, 0x21, 0x22, 0x10, 0x13, 0x1b, 0x28, 0x33, 0x80, 0xfff8, 0xffff, 0x1_0008,
      ])
        returnWith({ ...frame, cs });
      for (const ss of [0, 1, 2, 3, 4, 0x08, 0x0b, 0x11, 0x12, 0x13, 0x18, 0x19, 0x1a, 0x1f, 0x20, 0x23, 0x28, 0x80, 0xfff8])
        returnWith({ ...frame, ss });
      for (const rsp of [0n, 1n, 1n << 47n, 0xffff_ffff_ffff_fff8n]) returnWith({ ...frame, rsp });
    });

    it('descriptors that say something else', () => {
      const codes = [
        0x00af_fa00_0000_ffffn,
        0x00bf_fb00_0000_ffffn,
        0x00cf_fb00_0000_ffffn,
        0x00af_7b00_0000_ffffn,
        0x00af_ff00_0000_ffffn,
      ];
      const stacks = [
        0x00cf_f200_0000_ffffn,
        0x00df_f300_0000_ffffn,
        0x00cf_7300_0000_ffffn,
        0x00cf_f100_0000_ffffn,
        0x008f_f300_0000_ffffn,
      ];
      for (const code of codes) returnWith(userFrame, descriptor(Selector.userCode, code));
      for (const stack of stacks) returnWith(userFrame, descriptor(Selector.userData, stack));
      for (const code of codes) returnWith(kernelFrame, descriptor(Selector.code, code ^ (0x60n << 40n)));
      for (const stack of stacks) returnWith(kernelFrame, descriptor(Selector.data, stack ^ (0x60n << 40n)));
      returnWith(userFrame, (m) => void (m.state.gdtrLimit = 0x26));
      returnWith(userFrame, (m) => void (m.state.gdtrBase = 0x7f00_0000_0000n));
    });

    it('segments that CPL 3 may not keep become null (SDM vol. 3 §5.8.1)', () => {
      for (const seg of [Seg.DS, Seg.ES, Seg.FS, Seg.GS]) {
        for (const dpl of [0, 1, 2, 3]) {
          const attr = Attr.P | Attr.S | 3 | Attr.G | Attr.DB | (dpl << Attr.DPL_SHIFT);
          const machine = returnWith(userFrame, (m) => setSegment(m.processor.context, seg, 0x10, 0x123n, 0xffff, attr));
          expect(machine.state.segSel[seg]).toBe(dpl === 3 ? 0x10 : 0);
        }
      }
    });

    it('flags that an instruction before it left are gone', () => {
      for (const frame of [kernelFrame, userFrame]) {
        for (const rflags of [2, 0x8d7]) {
          for (const program of ['01 d8 48 cf', '29 d8 48 cf']) compare({ program, setup: withFrame({ ...frame, rflags }) });
          compare({ program: '01 d8 48 cf', setup: withFrame({ ...frame, rflags, cs: 0 }) });
        }
      }
    });

    it('NT set: #GP in IA-32e mode', () => {
      expect(returnWith(userFrame, flags(Rflags.NT)).state.rip).toBe(BigInt(handlerOf(13) + 1));
    });

    it('a frame in two pages, misaligned, not mapped, or not canonical', () => {
      const frameAt = (place: number, mapped = true): Setup => {
        return (machine) => {
          const words = [kernelFrame.rip, BigInt(kernelFrame.cs), 2n, kernelFrame.rsp, BigInt(kernelFrame.ss)];
          words.forEach((word, n) => machine.setU64(place + 8 * n, word));
          machine.state.gpr[4] = BigInt(place);
          if (!mapped) machine.setPte(place & ~0xfff, 0n);
        };
      };
      for (const place of [0xfd8, 0xfd9, 0xfe0, 0xff0, 0xff8, 0x123])
        compare({ program: '48 cf', setup: frameAt(Place.stack + place) });
      compare({ program: '48 cf', setup: all(frameAt(Place.data, false), (m) => m.setGate(PF, { ist: 1 })) });
      compare({
        program: '48 cf',
        setup: all(
          frameAt(Place.data),
          (m) => m.setGate(12, { ist: 1 }),
          (m) => void (m.state.gpr[4] = 1n << 60n),
        ),
      });
    });

    it('NMIs are unblocked, and an interrupt that waited for IF comes', () => {
      const machine = returnWith({ ...userFrame, rflags: 0x202 }, (m) => {
        m.state.nmiBlocked = 1;
        m.interrupts.push(0x40);
      });
      expect(machine.state.nmiBlocked).toBe(0);
      expect(machine.state.rip).toBe(BigInt(handlerOf(0x40) + 1));
    });

    it('IRETD and IRET with 16 bits are the general path', () => {
      for (const program of ['cf', '66 cf']) compare({ program, setup: withFrame(kernelFrame) });
    });
  });

  it('#NM, CLTS and the same instruction again', () => {
    const machine = new LongModeMachine(tier);
    machine.load('d9 e8 f4');
    machine.state.cr0 |= 8n;
    machine.processor.context.updateMode();
    machine.write(handlerOf(NM), hex('0f 06 48 cf')); // clts; iretq
    expect(machine.run()).toBe('halt');
    expect(machine.state.rip).toBe(BigInt(Place.code + 3));
  });
});
