import { describe, expect, it } from 'vitest';
import { Rflags, Seg } from '../../src/index.ts';
import { Attr, Cr4, Efer } from '../../src/system/context.ts';
import { setSegment } from '../../src/system/segments.ts';
import { TIERS } from './engine.ts';
import { LongModeMachine, Place as LongPlace, Selector as LongSelector } from './long-mode.ts';
import { descriptor, handlerOf, hex, Page, Place, ProtectedModeMachine, Selector } from './protected-mode.ts';

describe.each(TIERS)('%s', (_, tier) => {
  const machineWith = (program: string): ProtectedModeMachine => {
    const machine = new ProtectedModeMachine(tier);
    machine.load(program);
    return machine;
  };
  const userMachine = (program: string): ProtectedModeMachine => {
    const machine = new ProtectedModeMachine(tier);
    machine.load(program, Place.user);
    machine.enterUser();
    return machine;
  };

  const RAX = 0;
  const RCX = 1;
  const RDX = 2;
  const RBX = 3;
  const RSP = 4;
  const RSI = 6;

  describe('events in 32-bit protected mode (SDM vol. 3 §6.12)', () => {
    it('INT n at CPL 3 takes SS0:ESP0 out of the TSS and pushes SS:ESP; IRET goes back', () => {
      const machine = userMachine('cd 80  40  f4'); // int 0x80; inc eax; hlt
      machine.setGate(0x80, { dpl: 3 });
      machine.write(handlerOf(0x80), hex('43  cf')); // inc ebx; iret
      // HLT at CPL 3 is #GP.
      const frame = machine.event();
      expect(frame).toMatchObject({ vector: 13, error: 0, eip: Place.user + 3, cs: Selector.userCode, ss: Selector.userData });
      expect(frame.esp).toBe(Place.userStack);
      expect(machine.gpr(RSP)).toBe(BigInt(Place.esp0 - 24));
      expect([machine.gpr(RAX), machine.gpr(RBX)]).toEqual([1n, 1n]);
    });

    it('PUSH of a memory operand at ESP 2, beyond the end of the stack segment: #SS(0), not #GP (SDM vol. 2, PUSH)', () => {
      const machine = userMachine(
        `ff 35 ${[0, 8, 16, 24].map((n) => ((Place.user >>> n) & 0xff).toString(16).padStart(2, '0')).join(' ')}`,
      );
      machine.state.gpr[RSP] = 2n;
      expect(machine.event()).toMatchObject({ vector: 12, error: 0, eip: Place.user, esp: 2 });
    });

    it('at CPL 0 the stack stays, and neither SS nor ESP is pushed', () => {
      const machine = machineWith('0f 0b');
      expect(machine.event()).toMatchObject({ vector: 6, eip: Place.code, cs: Selector.code });
      expect(machine.gpr(RSP)).toBe(BigInt(Place.stack - 12));
    });

    it('segments that CPL 3 may not have are cleared by the return to it (SDM vol. 3 §5.8.6)', () => {
      const machine = userMachine('cd 80  8e d8'); // int 0x80; mov ds, eax
      machine.setGate(0x80, { dpl: 3 });
      // mov ebx, 0x10; mov ds, ebx; mov es, ebx; mov eax, 0x10; iret
      machine.write(handlerOf(0x80), hex('bb 10 00 00 00  8e db  8e c3  89 d8  cf'));
      expect(machine.event()).toMatchObject({ vector: 13, error: 0x10, eip: Place.user + 2 });
      expect([machine.state.segSel[Seg.DS], machine.state.segAttr[Seg.ES]]).toEqual([0, 0]);
    });
  });

  describe('fast system calls', () => {
    it('SYSENTER and SYSEXIT (SDM vol. 2B): flat segments by position behind IA32_SYSENTER_CS', () => {
      const machine = userMachine('0f 34'); // sysenter
      machine.state.sysenterCs = BigInt(Selector.code);
      machine.state.sysenterEsp = BigInt(Place.esp0);
      machine.state.sysenterEip = BigInt(Place.code);
      machine.state.rflags |= Rflags.IF;
      machine.write(Place.user + 0x100, hex('0f 0b')); // ud2
      // mov esi, esp; mov ebx, cs; pushf; pop edi; mov edx, user + 0x100; mov ecx, userStack; sysexit
      machine.write(Place.code, hex('89 e6  8c cb  9c 5f  ba 00 01 40 00  b9 00 00 60 00  0f 35'));
      expect(machine.event()).toMatchObject({
        vector: 6,
        eip: Place.user + 0x100,
        cs: Selector.userCode,
        ss: Selector.userData,
        esp: Place.userStack,
      });
      expect([machine.gpr(RSI), machine.gpr(RBX)]).toEqual([BigInt(Place.esp0), BigInt(Selector.code)]);
      expect(Number(machine.gpr(7)) & Rflags.IF).toBe(0);
    });

    it('SYSENTER without a code segment is #GP(0); in long mode it is #UD, as on AMD’s processors', () => {
      expect(userMachine('0f 34').event()).toMatchObject({ vector: 13, error: 0, eip: Place.user });
      const long = new LongModeMachine(tier);
      long.load('0f 34');
      expect(long.event()).toMatchObject({ vector: 6 });
    });

    it('SYSCALL in legacy mode enters at STAR’s EIP, and SYSRET turns interrupts on (APM vol. 3)', () => {
      const machine = userMachine('0f 05'); // syscall
      machine.state.efer = BigInt(Efer.SCE);
      machine.state.star = (0x13n << 48n) | (BigInt(Selector.code) << 32n) | BigInt(Place.code);
      machine.state.rflags |= Rflags.IF;
      machine.write(Place.user + 2, hex('0f 0b')); // ud2
      machine.write(Place.code, hex('8c cb  9c 5f  0f 07')); // mov ebx, cs; pushf; pop edi; sysret
      machine.setU32(Place.userStack - 4, 0);
      expect(machine.event()).toMatchObject({ vector: 6, eip: Place.user + 2 });
      expect(machine.gpr(RBX)).toBe(BigInt(Selector.code));
      expect(machine.gpr(RCX)).toBe(BigInt(Place.user + 2));
      expect(Number(machine.gpr(7)) & Rflags.IF).toBe(0);
    });

    it('SYSCALL in compatibility mode enters 64-bit code at CSTAR (APM vol. 3)', () => {
      const machine = new LongModeMachine(tier);
      machine.load('0f 05', LongPlace.user);
      machine.enterUser();
      const c = machine.processor.context;
      const attr = Attr.P | Attr.S | Attr.G | Attr.DB | (3 << Attr.DPL_SHIFT);
      setSegment(c, Seg.CS, LongSelector.userCode, 0n, 0xffff_ffff, attr | 0xb);
      c.updateMode();
      machine.state.star = BigInt(LongSelector.code) << 32n;
      machine.state.cstar = BigInt(LongPlace.code);
      machine.state.sfmask = BigInt(Rflags.IF);
      machine.state.rflags |= Rflags.IF;
      machine.write(LongPlace.code, hex('49 89 c8  0f 0b')); // mov r8, rcx; ud2
      const frame = machine.event();
      expect(frame).toMatchObject({ vector: 6, rip: LongPlace.code + 3, cs: LongSelector.code });
      expect(frame.rflags & Rflags.IF).toBe(0);
      expect(machine.gpr(8)).toBe(BigInt(LongPlace.user + 2));
    });
  });

  describe('segments', () => {
    const DATA = Attr.P | Attr.S | 3 | (3 << Attr.DPL_SHIFT);
    const withTls = (program: string, base: number, limit: number, attr = DATA | Attr.DB): ProtectedModeMachine => {
      const machine = userMachine(`b8 3b 00 00 00  8e e0  ${program}`); // mov eax, 0x3b; mov fs, eax
      machine.setU64(Place.gdt + (Selector.tls & ~3), descriptor(base, limit, attr));
      return machine;
    };
    const read8 = '64 8b 1d 08 00 00 00'; // mov ebx, fs:[8]

    it('a base is added, and the limit is inclusive (SDM vol. 3 §5.3)', () => {
      const machine = withTls(`${read8}  0f 0b`, Place.user + 0x100, 11);
      machine.setU32(Place.user + 0x108, 0x1234_5678);
      expect(machine.event()).toMatchObject({ vector: 6 });
      expect(machine.gpr(RBX)).toBe(0x1234_5678n);
      expect(withTls(read8, Place.user, 10).event()).toMatchObject({ vector: 13, error: 0, eip: Place.user + 7 });
    });

    it('an expand-down segment is valid above its limit', () => {
      const down = Attr.P | Attr.S | 7 | Attr.DB | (3 << Attr.DPL_SHIFT);
      expect(withTls(read8, Place.user, 8, down).event()).toMatchObject({ vector: 13, error: 0 });
      expect(withTls(`${read8}  0f 0b`, Place.user, 7, down).event()).toMatchObject({ vector: 6 });
    });

    it('with a limit of 4 GiB an offset wraps through the base, as thread-local variables below it do', () => {
      const machine = withTls('64 8b 1d fc ff ff ff  0f 0b', Place.user + 0x100, 0xf_ffff, DATA | Attr.DB | Attr.G); // mov ebx, fs:[-4]
      machine.setU32(Place.user + 0xfc, 7);
      expect(machine.event()).toMatchObject({ vector: 6 });
      expect(machine.gpr(RBX)).toBe(7n);
    });

    it('a null selector may be loaded, but not used', () => {
      expect(userMachine(`31 c0  8e e0  ${read8}`).event()).toMatchObject({ vector: 13, error: 0, eip: Place.user + 4 });
    });

    it('the accessed bit is set, and a descriptor that changed is loaded anew', () => {
      const machine = withTls('0f 0b', Place.user, 15, DATA & ~1);
      machine.event();
      expect(machine.u32(Place.gdt + (Selector.tls & ~3) + 4) & 0x100).toBe(0x100);
      const again = machineWith(`8e d8  c7 05 14 10 00 00 00 13 cf 00  8e d8  0f 0b`); // mov ds, eax; mov [gdt + 0x14], not present; again
      again.state.gpr[RAX] = BigInt(Selector.data);
      expect(again.event()).toMatchObject({ vector: 11, error: Selector.data, eip: Place.code + 12 });
    });

    it('LDS, LES, LFS and LGS load an offset and a selector; nothing changes if the selector cannot be loaded (SDM vol. 2A)', () => {
      const machine = userMachine('0f b4 1d 00 10 40 00  0f b5 15 08 10 40 00'); // lfs ebx, [user + 0x1000]; lgs edx, [user + 0x1008]
      machine.setU32(Place.user + 0x1000, 0xdead_beef);
      machine.setU32(Place.user + 0x1004, Selector.userData);
      machine.setU32(Place.user + 0x1008, 1);
      machine.setU32(Place.user + 0x100c, Selector.data);
      const before = machine.gpr(RDX);
      expect(machine.event()).toMatchObject({ vector: 13, error: Selector.data, eip: Place.user + 7 });
      expect(machine.state.segSel[Seg.FS]).toBe(Selector.userData);
      expect([machine.gpr(RBX), machine.gpr(RDX)]).toEqual([0xdead_beefn, before]);
    });

    it('LSS loads the stack in one instruction and holds interrupts off for the next (SDM vol. 3 §6.8.3)', () => {
      const machine = machineWith('fb  0f b2 25 00 00 04 00  90  90'); // sti; lss esp, [data]; nop; nop
      machine.setU32(Place.data, 0x7_0000);
      machine.setU32(Place.data + 4, Selector.data);
      machine.interrupts.push(0x40);
      expect(machine.event()).toMatchObject({ vector: 0x40, eip: Place.code + 9 });
      expect(machine.gpr(RSP)).toBe(BigInt(0x7_0000 - 12));
    });

    it('code segments are not written, and accesses do not leave 4 GiB, flat or not (SDM vol. 3 §5.3)', () => {
      expect(machineWith('2e c6 05 00 00 04 00 01').event()).toMatchObject({ vector: 13, error: 0 }); // mov byte cs:[data], 1
      expect(machineWith('a1 fd ff ff ff').event()).toMatchObject({ vector: 13, error: 0 }); // mov eax, [0xfffffffd]
      const machine = machineWith('b8 fe ff ff ff  89 c4  58'); // mov eax, -2; mov esp, eax; pop eax
      expect(machine.run()).toBe('shutdown'); // #SS has no stack to go to, and nor has #DF
    });
  });

  describe('paging', () => {
    const readData = 'a1 08 00 04 00'; // mov eax, [data + 8]

    it('#PF of two-level paging: CR2 and the error code', () => {
      const machine = machineWith(readData);
      machine.setPte(Place.data, 0);
      expect(machine.event()).toMatchObject({ vector: 14, error: 0, eip: Place.code });
      expect(machine.state.cr2).toBe(0x40008n);
      const write = machineWith('a3 08 00 04 00'); // mov [data + 8], eax
      write.setPte(Place.data, Place.data | Page.P);
      expect(write.event()).toMatchObject({ vector: 14, error: 3 });
      expect(userMachine(readData).event()).toMatchObject({ vector: 14, error: 5, eip: Place.user });
    });

    it('without CR4.PSE a large page’s bit means nothing', () => {
      const machine = machineWith('a1 08 00 40 00'); // mov eax, [user + 8]
      machine.state.cr4 &= ~BigInt(Cr4.PSE);
      machine.processor.context.updateMmu();
      machine.processor.context.flushTlb();
      // The directory entry then names a page table at 4 MiB, whose first entry is empty.
      expect(machine.event()).toMatchObject({ vector: 14, error: 0 });
    });

    it('PAE: PDPTEs are loaded with CR3, 2 MiB pages and XD work', () => {
      const pdpt = 0x6000;
      const directory = 0x7000;
      const machine = machineWith(`0f 20 c0  0f ba f0 1f  0f 22 c0   # mov eax, cr0; btr eax, 31; mov cr0, eax
                                 0f 20 e0  0d 20 00 00 00  0f 22 e0  # mov eax, cr4; or eax, PAE; mov cr4, eax
                                 b8 00 60 00 00  0f 22 d8           # mov eax, pdpt; mov cr3, eax
                                 0f 20 c0  0f ba e8 1f  0f 22 c0   # mov eax, cr0; bts eax, 31; mov cr0, eax
                                 a1 08 00 20 00                     # mov eax, [0x200008]
                                 e9 00 00 00 00`);
      machine.state.efer = BigInt(Efer.NXE);
      machine.setU64(pdpt, BigInt(directory) | 1n);
      machine.setU64(directory, 0x83n);
      machine.setU64(directory + 8, 0x8000_0000_0040_0083n);
      machine.setU32(0x40_0008, 0x55aa);
      const jump = Place.code + 10 + 11 + 8 + 10 + 5;
      machine.setU32(jump + 1, 0x20_0000 - (jump + 5)); // jmp 0x200000, which may not be executed
      expect(machine.event()).toMatchObject({ vector: 14, error: 0x11, eip: 0x20_0000 });
      expect(machine.gpr(RAX)).toBe(0x55aan);
    });
  });
});
