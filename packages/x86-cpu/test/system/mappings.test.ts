import { describe, expect, it } from 'vitest';
import { Cr4 } from '../../src/system/context.ts';
import { TIERS } from './engine.ts';
import { handlerOf, hex, LongModeMachine, Page, Place, Selector } from './long-mode.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const GLOBAL = 0x100n;
/** A second set of tables, free for the tests. */
const Second = { pml4: 0xb_0000, pdpt: 0xb_1000, pd: 0xb_2000, pt: 0xb_3000 } as const;
/** A page for a function, and two to put in its place. */
const FUNCTION = 0x4_1000;
const OTHER = 0x5_1000;
const LARGE = 0x20_0000;

describe.each(TIERS)('%s', (_, tier) => {
  const machineWith = (program: string, at: number = Place.code): LongModeMachine => {
    const machine = new LongModeMachine(tier);
    machine.load(program, at);
    return machine;
  };
  const little = (value: number): string => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    return bytes.toString('hex');
  };
  /** All pages of the first 2 MiB with these bits. */
  const mapAll = (machine: LongModeMachine, bits: bigint): void => {
    for (let n = 0; n < 512; n++) machine.setPte(n * 0x1000, BigInt(n * 0x1000) | Page.P | Page.RW | bits);
  };
  /** The second address space: as the first, but for the function's page and the large pages from the user's on. */
  const secondSpace = (machine: LongModeMachine): void => {
    const link = Page.P | Page.RW | Page.US;
    machine.setU64(Second.pml4, BigInt(Second.pdpt) | link);
    machine.setU64(Second.pdpt, BigInt(Second.pd) | link);
    machine.setU64(Second.pd, BigInt(Second.pt) | link);
    for (let n = 1; n < 8; n++) machine.setU64(Second.pd + 8 * n, BigInt((n === 1 ? 4 : n) * LARGE) | link | Page.PS);
    for (let n = 0; n < 512; n++) machine.setU64(Second.pt + 8 * n, machine.u64(Place.pt + 8 * n));
    machine.setU64(Second.pt + 8 * (FUNCTION >> 12), BigInt(OTHER) | Page.P | Page.RW);
  };

  describe('MOV to CR3 (SDM vol. 3 §4.10.4.1)', () => {
    /** Calls the function in one address space, then in the other, thrice. */
    const callTwice = `be 03 00 00 00                          # mov esi, 3
                       b8 00 00 0b 00 bd 00 40 00 00            # mov eax, second pml4; mov ebp, first
                       e8 ${little(FUNCTION - Place.code - 20)} # call FUNCTION
                       0f 22 d8                                 # mov cr3, rax
                       e8 ${little(FUNCTION - Place.code - 28)} # call FUNCTION
                       0f 22 dd                                 # mov cr3, rbp
                       ff ce 75 ea f4                           # dec esi; jnz; hlt`;
    it.each([
      ['local', 0n],
      ['global', GLOBAL],
    ])('code at CPL 0 that is mapped elsewhere, called from a %s page', (_name, bits) => {
      const machine = machineWith(callTwice);
      mapAll(machine, bits);
      machine.setPte(FUNCTION, BigInt(FUNCTION) | Page.P | Page.RW);
      secondSpace(machine);
      machine.write(FUNCTION, hex('83 c3 01 c3')); // add ebx, 1; ret
      machine.write(OTHER, hex('83 c3 64 c3')); // add ebx, 100; ret
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(303n);
      expect(machine.state.cr3).toBe(BigInt(Place.pml4));
    });

    it('the code that runs is itself mapped elsewhere', () => {
      const machine = machineWith('b8 00 00 0b 00 0f 22 d8 bb 01 00 00 00 f4', FUNCTION); // mov cr3, rax; mov ebx, 1; hlt
      secondSpace(machine);
      machine.write(OTHER + 8, hex('bb 02 00 00 00 f4'));
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(2n);
    });

    it('code at CPL 3 under a global kernel', () => {
      const machine = machineWith('83 c3 01 cd 80', Place.user); // add ebx, 1; int 0x80
      mapAll(machine, GLOBAL);
      secondSpace(machine);
      machine.write(4 * LARGE, hex('83 c3 64 cd 80'));
      machine.setGate(0x80, { dpl: 3 });
      // Switches address spaces and starts the program again; halts after six rounds.
      machine.write(
        handlerOf(0x80),
        hex(`eb 7e`), // there is room behind the handlers
      );
      machine.write(
        handlerOf(0x88),
        hex(`48 c7 04 24 00 00 20 00     # mov qword [rsp], user
             0f 20 d8 48 35 00 40 0b 00  # mov rax, cr3; xor rax, 0xb4000
             0f 22 d8                    # mov cr3, rax
             ff c9 74 02 48 cf f4        # dec ecx; jz; iretq; hlt`),
      );
      machine.enterUser();
      machine.state.gpr[RCX] = 6n;
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(303n);
    });

    it('data at CPL 0: no old translation is used, but a global one may be', () => {
      const machine = machineWith(`03 1c 25 00 10 04 00   # add ebx, [FUNCTION]
                                   b8 00 00 0b 00 0f 22 d8
                                   03 1c 25 00 10 04 00 f4`);
      secondSpace(machine);
      machine.setU64(FUNCTION, 1n);
      machine.setU64(OTHER, 100n);
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(101n);
    });

    it('bit 63 is no part of CR3; reserved bits are #GP', () => {
      const load = '48 b8 00 40 00 00 00 00 00 80 0f 22 d8 f4'; // mov rax, 1 << 63 | pml4; mov cr3, rax
      const machine = machineWith(load);
      expect(machine.run()).toBe('halt');
      expect(machine.state.cr3).toBe(BigInt(Place.pml4));
      const reserved = machineWith(load.replace('00 80 0f', '10 00 0f'));
      expect(reserved.event()).toMatchObject({ vector: 13, error: 0, rip: Place.code + 10 });
      expect(reserved.state.cr3).toBe(BigInt(Place.pml4));
    });

    it('jump tags that run out begin again', () => {
      const machine = machineWith(callTwice);
      secondSpace(machine);
      machine.write(FUNCTION, hex('83 c3 01 c3'));
      machine.write(OTHER, hex('83 c3 64 c3'));
      machine.state.userTag |= 0xffff_c000;
      machine.state.kernelTag |= 0xffff_e000;
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(303n);
      expect(machine.state.kernelTag >>> 12).toBeLessThan(100);
    });
  });

  describe('INVLPG', () => {
    it('for any address of a large page that code runs in (SDM vol. 3 §4.10.4.1)', () => {
      const machine = machineWith(`e8 ${little(LARGE - Place.code - 5)}       # call LARGE
                                   48 c7 04 25 08 60 00 00 83 00 80 00    # its entry: 0x800000, P RW PS
                                   0f 01 3c 25 00 f0 3f 00                # invlpg [LARGE + 0x1ff000]
                                   e8 ${little(LARGE - Place.code - 30)} f4`);
      machine.write(LARGE, hex('83 c3 01 c3'));
      machine.write(4 * LARGE, hex('83 c3 64 c3'));
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(101n);
    });

    it('for the page of the code itself', () => {
      const machine = machineWith(
        `48 c7 04 25 08 72 00 00 03 10 05 00   # entry of FUNCTION: OTHER
         0f 01 3c 25 00 10 04 00               # invlpg [FUNCTION]
         bb 01 00 00 00 f4`,
        FUNCTION,
      );
      machine.write(OTHER + 20, hex('bb 02 00 00 00 f4'));
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(2n);
    });

    it('for data keeps what the jump cache leads to, and only that', () => {
      const machine = machineWith('0f 01 3c 25 00 00 04 00 f4'); // invlpg [data]
      const { kernelTag } = machine.state;
      expect(machine.run()).toBe('halt');
      expect(machine.state.kernelTag).toBe(kernelTag);
    });

    it('of an address that is not canonical does nothing', () => {
      const machine = machineWith('48 b8 00 00 00 00 00 00 00 80 0f 01 38 f4'); // mov rax, 1 << 63; invlpg [rax]
      expect(machine.run()).toBe('halt');
    });

    it('at CPL 3: #GP', () => {
      const machine = machineWith('0f 01 38', Place.user);
      machine.enterUser();
      expect(machine.event()).toMatchObject({ vector: 13, error: 0, rip: Place.user, cs: Selector.userCode });
    });
  });

  describe('control registers are read', () => {
    it('CR0, CR2, CR3, CR4 and CR8', () => {
      for (const [program, name] of [
        ['0f 20 c0', 'cr0'],
        ['0f 20 d0', 'cr2'],
        ['0f 20 d8', 'cr3'],
        ['0f 20 e0', 'cr4'],
      ] as const) {
        const machine = machineWith(`${program} f4`);
        machine.state.cr2 = 0x1234_5678_9abc_def0n;
        machine.state.gpr[RAX] = ~0n;
        expect(machine.run()).toBe('halt');
        expect(machine.gpr(RAX)).toBe(machine.state[name]);
      }
      const machine = machineWith('44 0f 20 c0 f4');
      expect(machine.run()).toBe('halt');
    });

    it('not CR1, and not at CPL 3', () => {
      expect(machineWith('0f 20 c8').event()).toMatchObject({ vector: 6 });
      const machine = machineWith('0f 20 d0', Place.user);
      machine.enterUser();
      expect(machine.event()).toMatchObject({ vector: 13, error: 0 });
    });
  });

  describe('the time-stamp counter', () => {
    it('RDTSC and RDTSCP fill EDX:EAX, and ECX with IA32_TSC_AUX (SDM vol. 2B)', () => {
      const machine = machineWith('0f 01 f9 f4');
      machine.state.tscAux = 0x77n;
      machine.state.gpr.fill(~0n, 0, 4);
      expect(machine.run()).toBe('halt');
      expect([machine.gpr(RAX), machine.gpr(RDX), machine.gpr(RCX), machine.gpr(RBX)]).toEqual([
        0n,
        0n,
        0x77n,
        0xffff_ffff_ffff_ffffn,
      ]);
    });

    it.each(['0f 31', '0f 01 f9'])('%s with CR4.TSD: #GP above CPL 0 only', (program) => {
      const kernel = machineWith(`${program} f4`);
      kernel.state.cr4 |= BigInt(Cr4.TSD);
      expect(kernel.run()).toBe('halt');
      const user = machineWith(program, Place.user);
      user.state.cr4 |= BigInt(Cr4.TSD);
      user.enterUser();
      expect(user.event()).toMatchObject({ vector: 13, error: 0, rip: Place.user });
      const allowed = machineWith(`${program} 0f 0b`, Place.user);
      allowed.enterUser();
      expect(allowed.event()).toMatchObject({ vector: 6 });
    });
  });

  describe('FS and GS bases (SDM vol. 2B, WRFSBASE)', () => {
    const withBases = (program: string): LongModeMachine => {
      const machine = machineWith(`${program} f4`);
      machine.state.cr4 |= BigInt(Cr4.FSGSBASE);
      machine.state.gpr[RAX] = 0x1234_5678_9abcn;
      machine.state.gpr[RBX] = ~0n;
      return machine;
    };

    it('are written and read, whole or 32 bits', () => {
      for (const [write, read, expected] of [
        ['f3 48 0f ae d0', 'f3 48 0f ae c3', 0x1234_5678_9abcn],
        ['f3 48 0f ae d8', 'f3 48 0f ae cb', 0x1234_5678_9abcn],
        ['f3 0f ae d0', 'f3 48 0f ae c3', 0x5678_9abcn],
        ['f3 48 0f ae d8', 'f3 0f ae cb', 0x5678_9abcn],
      ]) {
        const machine = withBases(`${write} ${read}`);
        expect(machine.run()).toBe('halt');
        expect(machine.gpr(RBX)).toBe(expected);
      }
    });

    it('are where accesses go at once', () => {
      const machine = withBases('f3 48 0f ae d0  64 8b 1c 25 08 00 00 00'); // wrfsbase rax; mov ebx, fs:[8]
      machine.state.gpr[RAX] = BigInt(Place.data);
      machine.setU64(Place.data + 8, 42n);
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(42n);
    });

    it('have to be canonical, and allowed by CR4', () => {
      const machine = withBases('f3 48 0f ae d0');
      machine.state.gpr[RAX] = 1n << 47n;
      expect(machine.event()).toMatchObject({ vector: 13, error: 0 });
      for (const program of ['f3 48 0f ae d0', 'f3 48 0f ae d8', 'f3 48 0f ae c0', 'f3 48 0f ae c8'])
        expect(machineWith(program).event()).toMatchObject({ vector: 6, rip: Place.code });
    });
  });
});
