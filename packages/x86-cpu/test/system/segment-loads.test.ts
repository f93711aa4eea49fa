/** Loads of segment registers, CR3 and INVLPG in 32-bit protected mode: as generated code has them, and as TypeScript has. */
import { describe, expect, it } from 'vitest';
import { Seg } from '../../src/index.ts';
import { Attr, Cr4 } from '../../src/system/context.ts';
import { all, bothWays, descriptorAt, type Setup } from './both-ways.ts';
import { TIERS } from './engine.ts';
import { descriptor, hex, Page, Place, ProtectedModeMachine, Selector } from './protected-mode.ts';

const FLAT = Attr.P | Attr.S | Attr.G | Attr.DB;
const LIMIT = 0xf_ffff;
const dpl = (n: number): number => n << Attr.DPL_SHIFT;
const byte = (n: number): string => n.toString(16).padStart(2, '0');

/** `mov SEG, eax`, `mov SEG, [ebx]` and `push eax; pop SEG`. */
const LOADS: readonly [string, (seg: number) => string][] = [
  ['from a register', (seg) => `8e ${byte(0xc0 | (seg << 3))}`],
  ['from memory', (seg) => `8e ${byte(0x03 | (seg << 3))}`],
  [
    'from the stack',
    (seg) => `50 ${{ [Seg.ES]: '07', [Seg.SS]: '17', [Seg.DS]: '1f', [Seg.FS]: '0f a1', [Seg.GS]: '0f a9' }[seg]}`,
  ],
];
const REGISTERS = [Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS] as const;

describe.each(TIERS)('%s', (_, tier) => {
  const UD2 = '0f 0b';
  /** Loads `selector` in a way, then reads through the register and stops by #UD. */
  const load = (way: (seg: number) => string, seg: number, selector: number, user: boolean, setup?: Setup, usual?: boolean) => {
    const place = user ? Place.user + 0x800 : Place.data;
    return bothWays(tier, {
      user,
      program: `90 ${way(seg)} ${UD2}`,
      setup: all(
        (m) => {
          m.state.gpr[0] = BigInt(selector);
          m.state.gpr[3] = BigInt(place);
          m.setU32(place, selector);
        },
        setup ?? (() => undefined),
      ),
      usual,
    });
  };

  /** All cases in one tier, which differ in core/segments.ts only, and some in the others. */
  const some = <T>(cases: readonly T[]): readonly T[] =>
    tier.heat === undefined ? cases : cases.filter((_case, n) => n % 7 === 0);
  const SELECTORS = [
    0x10, 0, 1, 3, 4, 8, 0x0b, 0x23, 0x11, 0x13, 0x17, 0x18, 0x1b, 0x20, 0x21, 0x28, 0x33, 0x3b, 0x3f, 0x40, 0xfffb, 0x1_0023,
  ];
  const [[, fromRegister]] = LOADS;

  it.each(LOADS)('every selector %s (SDM vol. 3 §3.4.3, §5.6)', (_name, way) => {
    const selectors = way === fromRegister ? some(SELECTORS) : some(SELECTORS).slice(0, 8);
    for (const user of [false, true])
      for (const seg of REGISTERS) for (const selector of selectors) load(way, seg, selector, user);
  });

  it.each(LOADS)('the usual ones are loaded %s by generated code', (_name, way) => {
    for (const seg of [Seg.ES, Seg.DS, Seg.FS, Seg.GS]) {
      load(way, seg, Selector.userData, true, undefined, true);
      load(way, seg, Selector.data, false, undefined, true);
    }
    for (const seg of [Seg.FS, Seg.GS]) for (const user of [false, true]) load(way, seg, 0, user, undefined, true);
  });

  it('every kind of descriptor', () => {
    const types = Array.from({ length: 16 }, (_type, n) => n);
    const attrs = types.flatMap((type) => [FLAT | type, (FLAT | type) & ~Attr.S, (FLAT | type) & ~Attr.P]);
    for (const user of [true, false]) {
      for (const seg of [Seg.DS, Seg.FS]) {
        for (const attr of some(attrs))
          load(fromRegister, seg, Selector.tls, user, descriptorAt(Selector.tls, descriptor(0, LIMIT, attr | dpl(3))));
      }
    }
  });

  it('bases and limits', () => {
    const attrs = [FLAT | 3, (FLAT | 3) & ~Attr.G, (FLAT | 3) & ~Attr.DB, FLAT | 3 | Attr.AVL | Attr.L];
    const bases = [0, 1, 0x1234_5678, 0xff00_0000, 0x00ff_0000, 0xffff_ffff].map((base) => [base, LIMIT]);
    const limits = [0, 0xffff, 0xf_0000, LIMIT - 1].map((limit) => [0, limit]);
    const cases = [...bases, ...limits].flatMap(([base, limit]) => attrs.map((attr) => descriptor(base, limit, attr | dpl(3))));
    for (const seg of [Seg.ES, Seg.FS, Seg.GS])
      for (const value of some(cases)) load(fromRegister, seg, Selector.tls, true, descriptorAt(Selector.tls, value));
  });

  it('neither CPL nor RPL is above the DPL', () => {
    for (const user of [true, false]) {
      for (const level of [0, 1, 2, 3]) {
        const setup = descriptorAt(Selector.tls, descriptor(0x100, LIMIT, FLAT | 3 | dpl(level)));
        for (const rpl of some([0, 1, 2, 3])) load(fromRegister, Seg.FS, (Selector.tls & ~3) | rpl, user, setup);
      }
    }
  });

  it('the GDT: its limit, in two pages, not mapped, at the end of 4 GiB', () => {
    const tls = descriptorAt(Selector.tls, descriptor(0, LIMIT, FLAT | 3 | dpl(3)));
    const gdtAt = (base: number): Setup => {
      return (m) => {
        const table = new Uint8Array(0x40);
        m.guest.read(Place.gdt, table);
        m.write(base, table);
        m.state.gdtrBase = BigInt(base);
      };
    };
    const setups: Setup[] = [
      ...[0x3e, 0x3f].map(
        (limit): Setup =>
          (m) =>
            void (m.state.gdtrLimit = limit),
      ),
      ...[0x3_0fc4, 0x3_0fc8, 0x3_0001].map(gdtAt),
      ...[0x7f00_0000n, 0xffff_fff0n].map(
        (base): Setup =>
          (m) =>
            void (m.state.gdtrBase = base),
      ),
    ];
    for (const setup of setups) load(fromRegister, Seg.GS, Selector.tls, true, all(tls, setup));
  });

  it('an access through the register finds the new base and limit at once', () => {
    const read = '64 8b 0d 08 00 00 00'; // mov ecx, fs:[8]
    const tls = (base: number, limit: number, attr: number) => descriptorAt(Selector.tls, descriptor(base, limit, attr | dpl(3)));
    for (const [base, limit, attr] of [
      [Place.user + 0x100, LIMIT, FLAT | 3],
      [Place.user + 0x100, 11, (FLAT | 3) & ~Attr.G],
      [Place.user + 0x100, 10, (FLAT | 3) & ~Attr.G],
    ]) {
      const setup = all(tls(base, limit, attr), (m) => m.setU32(Place.user + 0x108, 0x1234_5678));
      bothWays(tier, { user: true, program: `b8 3b 00 00 00 8e e0 ${read} 31 c0 8e e0 ${read}`, setup });
    }
  });

  it('base, index and displacement are cut to 32 bits before the segment base is added', () => {
    for (const [base, index] of [
      [Place.user + 0x100, 2],
      [Place.user + 0x1100, 0xffff_fc02],
      [0xffff_ff00, 0x10_0082],
    ]) {
      const tls = descriptorAt(Selector.tls, descriptor(base, LIMIT, FLAT | 3 | dpl(3)));
      const setup = all(tls, (m) => {
        m.state.gpr[1] = BigInt(index);
        m.setU32(Place.user + 0x110, 0x1234_5678);
      });
      const program = 'b8 3b 00 00 00 8e e0 64 8b 1c 8d 08 00 00 00 64 01 04 8d 08 00 00 00 0f 0b'; // mov ebx, fs:[ecx*4+8]; add fs:[ecx*4+8], eax
      const machine = bothWays(tier, { user: true, program, setup });
      expect([machine.gpr(3), machine.u32(Place.user + 0x110)]).toEqual([0x1234_5678n, 0x1234_5678 + 0x3b]);
    }
  });

  it('POP changes neither stack nor register if it cannot load, and the stack may be at the end of a page', () => {
    for (const esp of [Place.userStack - 2, Place.userStack - 4, Place.userStack + 0xffe]) {
      for (const selector of [Selector.tls, Selector.userData, 0]) {
        const setup: Setup = (m) => {
          m.state.gpr[4] = BigInt(esp);
          m.setU32(esp, selector);
        };
        for (const program of ['0f a1 0f 0b', '66 0f a1 0f 0b', '1f 0f 0b']) bothWays(tier, { user: true, program, setup });
      }
    }
  });

  it('as a kernel does at every entry: its own data segment into FS and back, a thousand times', () => {
    const machine = new ProtectedModeMachine(tier);
    machine.setU64(Place.gdt + (Selector.tls & ~3), descriptor(Place.data, LIMIT, FLAT | 3));
    machine.load(
      `b9 e8 03 00 00                       # mov ecx, 1000
       b8 38 00 00 00 8e e0                 # mov eax, 0x38; mov fs, eax
       64 ff 05 10 00 00 00                 # inc dword fs:[16]
       b8 23 00 00 00 8e d8 8e c0           # mov eax, 0x23; mov ds, eax; mov es, eax
       31 c0 8e e0                          # xor eax, eax; mov fs, eax
       49 75 e2 f4                          # dec ecx; jnz; hlt`,
    );
    expect(machine.run()).toBe('halt');
    expect(machine.u32(Place.data + 16)).toBe(1000);
    expect(machine.processor.stats().system).toBe(1);
    expect(machine.processor.instructions).toBe(1 + 1000 * 10 + 1);
  });

  describe('MOV to CR3 and INVLPG', () => {
    const FUNCTION = 0x4_1000;
    const OTHER = 0x5_1000;
    const SECOND = { directory: 0xb_0000, table: 0xb_1000 } as const;
    const secondSpace: Setup = (m) => {
      m.setU32(SECOND.directory, SECOND.table | Page.P | Page.RW | Page.US);
      for (let n = 1; n < 4; n++) m.setU32(SECOND.directory + 4 * n, m.u32(Place.directory + 4 * n));
      for (let n = 0; n < 1024; n++) m.setU32(SECOND.table + 4 * n, m.u32(Place.table + 4 * n));
      m.setU32(SECOND.table + 4 * (FUNCTION >> 12), OTHER | Page.P | Page.RW);
      m.write(FUNCTION, hex('83 c3 01 c3')); // add ebx, 1; ret
      m.write(OTHER, hex('83 c3 64 c3')); // add ebx, 100; ret
    };
    const call = 'ff d6'; // call esi

    it('code that is mapped elsewhere, called in one address space and the other', () => {
      const program = `be 00 10 04 00 b8 00 00 0b 00 bd 00 40 00 00  bf 03 00 00 00
                       ${call} 0f 22 d8 ${call} 0f 22 dd 4f 75 f3 f4`; // ...; call; mov cr3, eax; call; mov cr3, ebp; dec edi; jnz; hlt
      const machine = bothWays(tier, { program, setup: secondSpace, usual: true });
      expect(machine.gpr(3)).toBe(303n);
      const global: Setup = (m) => {
        m.state.cr4 |= BigInt(Cr4.PGE);
        m.processor.context.updateMmu();
        for (let n = 0; n < 1024; n++) if (n !== FUNCTION >> 12) m.setPte(n * 0x1000, (n * 0x1000) | Page.P | Page.RW | 0x100);
      };
      expect(bothWays(tier, { program, setup: all(global, secondSpace), usual: true }).gpr(3)).toBe(303n);
    });

    it('a page that is mapped elsewhere and invalidated, of code and of data', () => {
      const entry = Place.table + 4 * (FUNCTION >> 12);
      const program = `be 00 10 04 00 ${call} c7 05 ${Buffer.from(Uint32Array.of(entry).buffer).toString('hex')} 03 10 05 00
                       0f 01 3e ${call} 03 1e f4`; // mov [entry], OTHER; invlpg [esi]; call; add ebx, [esi]; hlt
      const machine = bothWays(tier, { program, setup: secondSpace, usual: true });
      expect(machine.gpr(3)).toBe(101n + 0xc364_c383n);
    });

    it('at CPL 3 both are #GP, and with PAE the entries are loaded', () => {
      for (const program of ['0f 22 d8', '0f 01 3e']) bothWays(tier, { user: true, program });
      bothWays(tier, {
        program: 'b8 00 60 00 00 0f 22 d8 f4', // mov eax, 0x6000; mov cr3, eax
        setup: (m) => {
          m.setU64(0x6000, 0x7001n);
          m.setU64(0x7000, 0x83n);
          m.state.cr4 |= BigInt(Cr4.PAE);
          m.state.cr3 = 0x6000n;
          m.processor.context.updateMmu();
          expect(m.processor.context.mmu.loadPdptes()).toBe(true);
          m.processor.context.flushTlb();
        },
        usual: false,
      });
    });
  });
});
