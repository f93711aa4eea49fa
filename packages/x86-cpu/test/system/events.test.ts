import { describe, expect, it } from 'vitest';
import { Rflags } from '../../src/index.ts';
import { TIERS } from './engine.ts';
import { handlerOf, hex, LongModeMachine, Page, Place, Selector } from './long-mode.ts';

describe.each(TIERS)('%s', (_, tier) => {
  const machineWith = (program: string): LongModeMachine => {
    const machine = new LongModeMachine(tier);
    machine.load(program);
    return machine;
  };

  /** A program at CPL 3. */
  const userMachine = (program: string): LongModeMachine => {
    const machine = new LongModeMachine(tier);
    machine.load(program, Place.user);
    machine.enterUser();
    return machine;
  };

  const RAX = 0;
  const RCX = 1;
  const RBX = 3;
  const RSP = 4;

  describe('faults report the instruction that raised them (SDM vol. 3 §6.5)', () => {
    it('#DE has no error code, and RIP is that of DIV', () => {
      const machine = machineWith(`31 c9      # xor ecx, ecx
                                 f7 f1      # div ecx`);
      const frame = machine.event();
      expect(frame).toMatchObject({ vector: 0, rip: Place.code + 2, cs: Selector.code, rsp: Place.stack, ss: Selector.data });
      expect(frame.error).toBeUndefined();
    });

    it('#UD by UD2, and by an opcode that is none', () => {
      expect(machineWith('0f 0b').event()).toMatchObject({ vector: 6, rip: Place.code });
      expect(machineWith('90 06').event()).toMatchObject({ vector: 6, rip: Place.code + 1 });
    });

    it('RSM outside system-management mode is #UD (SDM vol. 2B, RSM)', () => {
      expect(machineWith('0f aa').event()).toMatchObject({ vector: 6, rip: Place.code });
    });

    it('the pushed image has RF set and the status flags as they were (SDM vol. 3 §6.8.3)', () => {
      const machine = machineWith(`f9         # stc
                                 0f 0b      # ud2`);
      expect(machine.event().rflags).toBe(Rflags.RF | Rflags.FIXED | Rflags.CF);
    });

    it('a fault leaves the registers as they were before the instruction', () => {
      const machine = machineWith(`b8 07 00 00 00                 # mov eax, 7
                                 48 bb 00 00 00 00 01 00 00 00  # mov rbx, 0x100000000
                                 48 01 03                       # add [rbx], rax`);
      expect(machine.event()).toMatchObject({ vector: 14, rip: Place.code + 15 });
      expect(machine.gpr(RAX)).toBe(7n);
      expect(machine.gpr(RBX)).toBe(0x1_0000_0000n);
    });
  });

  describe('traps report the next instruction (SDM vol. 3 §6.5)', () => {
    it('INT3 and INT n', () => {
      expect(machineWith('cc').event()).toMatchObject({ vector: 3, rip: Place.code + 1 });
      expect(machineWith('cd 80').event()).toMatchObject({ vector: 0x80, rip: Place.code + 2 });
    });

    it('single step: #DB after each instruction behind the POPF that set TF, with DR6.BS (SDM vol. 3 §17.3.1.4)', () => {
      const machine = machineWith(`68 02 01 00 00   # push 0x102
                                 9d               # popf
                                 90 90 cd 80      # nop; nop; int 0x80`);
      // Counts in EBX, keeps the last return address in ECX.
      machine.write(handlerOf(1), hex('ff c3 8b 0c 24 48 cf')); // inc ebx; mov ecx, [rsp]; iretq
      const frame = machine.event();
      expect(machine.gpr(RBX)).toBe(2n);
      expect(machine.gpr(RCX)).toBe(BigInt(Place.code + 8));
      expect(frame).toMatchObject({ vector: 0x80, rip: Place.code + 10 });
      expect(frame.rflags & Rflags.TF).toBe(Rflags.TF);
      expect(machine.state.rflags & Rflags.TF).toBe(0);
      expect(machine.state.dr[6] & 0x4000n).toBe(0x4000n);
    });
  });

  describe('single stepping (SDM vol. 3 §17.3.1.4)', () => {
    /** Where #DB came, relative to the code, for a program between the POPF that sets TF and an INT 80h. */
    const trapsOf = (program: string): number[] => {
      const machine = machineWith(`68 02 01 00 00 9d ${program} cd 80`); // push 0x102; popf
      // Appends its return address to the list at RBX.
      machine.write(handlerOf(1), hex('50 48 8b 44 24 08 89 03 83 c3 04 58 48 cf'));
      machine.state.gpr[RBX] = BigInt(Place.data);
      machine.event();
      const bytes = new Uint8Array(Number(machine.gpr(RBX)) - Place.data);
      machine.guest.read(Place.data, bytes);
      return Array.from(new Uint32Array(bytes.buffer), (rip) => rip - Place.code - 6);
    };

    it('no trap between MOV SS and the next instruction (SDM vol. 3 §6.8.3)', () => {
      expect(trapsOf('8c d0  8e d0  90  90')).toEqual([2, 5, 6]); // mov eax, ss; mov ss, eax; nop; nop
    });

    it('a repeated string instruction is trapped after each element', () => {
      // mov edi, 0x41000; mov ecx, 3; rep stosb
      expect(trapsOf('bf 00 10 04 00  b9 03 00 00 00  f3 aa  90')).toEqual([5, 10, 10, 10, 12, 13]);
    });

    it('the POPF that clears TF is the last to be trapped', () => {
      expect(trapsOf('6a 02  9d  90 90')).toEqual([2, 3]); // push 2; popf; nop; nop
    });
  });

  describe('#PF: CR2 and the error code (SDM vol. 3 §4.7)', () => {
    const P = 1;
    const W = 2;
    const U = 4;
    const RSVD = 8;
    const I = 16;
    const readData = `8b 04 25 08 00 04 00`; // mov eax, [0x40008]
    const writeData = `89 04 25 08 00 04 00`; // mov [0x40008], eax
    const page = BigInt(Place.data);

    const cases: [string, bigint, string, number][] = [
      ['reading a page that is not present', 0n, readData, 0],
      ['writing one', 0n, writeData, W],
      ['writing a read-only page with CR0.WP', page | Page.P, writeData, P | W],
      ['a reserved bit', page | Page.P | (1n << 45n), readData, P | RSVD],
    ];
    for (const [name, entry, program, error] of cases) {
      it(name, () => {
        const machine = machineWith(program);
        machine.setPte(Place.data, entry);
        expect(machine.event()).toMatchObject({ vector: 14, error, rip: Place.code });
        expect(machine.state.cr2).toBe(0x40008n);
      });
    }

    it('reading and writing a supervisor page at CPL 3', () => {
      for (const [program, error] of [
        [readData, P | U],
        [writeData, P | W | U],
      ] as const) {
        const machine = userMachine(program);
        expect(machine.event()).toMatchObject({ vector: 14, error, rip: Place.user, cs: Selector.userCode });
      }
    });

    it('fetching from a page with XD', () => {
      const machine = machineWith('e9 fb ff 02 00'); // jmp 0x40000
      machine.setPte(Place.data, page | Page.P | Page.RW | Page.NX);
      expect(machine.event()).toMatchObject({ vector: 14, error: P | I, rip: Place.data });
      expect(machine.state.cr2).toBe(page);
    });

    it('an access across two pages names the page that is not there', () => {
      const machine = machineWith('48 8b 04 25 fc 0f 04 00'); // mov rax, [0x40ffc]
      machine.setPte(Place.data + 0x1000, 0n);
      expect(machine.event()).toMatchObject({ vector: 14, error: 0, rip: Place.code });
      expect(machine.state.cr2).toBe(0x41000n);
    });

    it('the instruction runs again once the handler has mapped the page', () => {
      const machine = machineWith(`${readData} f4`);
      machine.setPte(Place.data, 0n);
      machine.setU64(Place.data + 0x1008, 0x1234n);
      // The handler maps the next page instead, drops the error code and goes back.
      machine.write(
        handlerOf(14),
        hex(`48 c7 04 25 00 72 00 00 03 10 04 00   # mov qword [0x7200], 0x41003
           48 83 c4 08  48 cf                    # add rsp, 8; iretq`),
      );
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RAX)).toBe(0x1234n);
      expect(machine.gpr(RSP)).toBe(BigInt(Place.stack));
    });
  });

  describe('#GP, #SS, #NP and their error codes (SDM vol. 3 §6.13)', () => {
    it('a selector beyond the GDT: its index', () => {
      const machine = machineWith(`b8 53 00 00 00   # mov eax, 0x53
                                 8e d8            # mov ds, eax`);
      expect(machine.event()).toMatchObject({ vector: 13, error: 0x50, rip: Place.code + 5 });
    });

    it('a non-canonical address: #GP(0), through RSP #SS(0)', () => {
      const load = '48 b8 00 00 00 00 00 00 00 80'; // mov rax, 0x8000000000000000
      expect(machineWith(`${load} 8b 08`).event()).toMatchObject({ vector: 13, error: 0, rip: Place.code + 10 });
      const machine = machineWith(`${load} 48 94 50`); // xchg rsp, rax; push rax
      machine.setGate(12, { ist: 1 });
      expect(machine.event()).toMatchObject({ vector: 12, error: 0, rip: Place.code + 12 });
    });

    it('a gate that CPL 3 may not use: the vector, with IDT set and EXT clear', () => {
      expect(userMachine('cd 80').event()).toMatchObject({ vector: 13, error: 0x80 * 8 + 2, rip: Place.user });
    });

    it('a gate that is not present: #NP with the vector', () => {
      const machine = machineWith('cd 80');
      machine.setGate(0x80, { present: false });
      expect(machine.event()).toMatchObject({ vector: 11, error: 0x80 * 8 + 2, rip: Place.code });
    });

    it('privileged instructions at CPL 3: #GP(0)', () => {
      for (const program of ['f4', 'fa', '0f 22 d8', '0f 30'])
        expect(userMachine(program).event()).toMatchObject({ vector: 13, error: 0, rip: Place.user });
    });
  });

  describe('stacks and privilege (SDM vol. 3 §6.14)', () => {
    it('an event at CPL 3 takes RSP0 out of the TSS and pushes SS:RSP; IRETQ goes back', () => {
      const machine = userMachine(`cd 80      # int 0x80
                                 ff c3      # inc ebx
                                 0f 0b      # ud2`);
      machine.setGate(0x80, { dpl: 3 });
      machine.write(handlerOf(0x80), hex('48 89 e0 48 cf')); // mov rax, rsp; iretq
      const frame = machine.event();
      expect(machine.gpr(RAX)).toBe(BigInt(Place.rsp0 - 40));
      expect(machine.gpr(RBX)).toBe(1n);
      expect(frame).toMatchObject({ vector: 6, cs: Selector.userCode, ss: Selector.userData, rsp: Place.userStack });
      expect(machine.state.cpl).toBe(0);
    });

    it('a gate with an IST entry always switches stacks', () => {
      const machine = machineWith('0f 0b');
      machine.setGate(6, { ist: 1 });
      expect(machine.event()).toMatchObject({ vector: 6, rsp: Place.stack });
      expect(machine.gpr(RSP)).toBe(BigInt(Place.ist1 - 40));
    });

    it('the stack is aligned to 16 bytes before the frame is pushed', () => {
      const machine = machineWith('0f 0b');
      machine.state.gpr[RSP] = BigInt(Place.stack - 9);
      expect(machine.event()).toMatchObject({ rsp: Place.stack - 9 });
      expect(machine.gpr(RSP)).toBe(BigInt(Place.stack - 16 - 40));
    });
  });

  describe('faults while an exception is delivered (SDM vol. 3 table 6-5)', () => {
    it('a contributory fault on top of a contributory one is #DF with error code 0', () => {
      const machine = machineWith('31 c9 f7 f1');
      machine.setGate(0, { present: false });
      expect(machine.event()).toMatchObject({ vector: 8, error: 0, rip: Place.code + 2 });
    });

    it('a benign first exception gives way to the second', () => {
      const machine = machineWith('0f 0b');
      machine.setGate(6, { present: false });
      expect(machine.event()).toMatchObject({ vector: 11, error: 6 * 8 + 3, rip: Place.code });
    });

    it('a page fault on the stack of a page fault is #DF', () => {
      const machine = machineWith('8b 04 25 08 00 04 00');
      machine.setPte(Place.data, 0n);
      machine.setPte(Place.stack - 0x1000, 0n);
      machine.setGate(8, { ist: 1 });
      expect(machine.event()).toMatchObject({ vector: 8, error: 0, rip: Place.code, rsp: Place.stack });
    });

    it('a fault while #DF is delivered shuts the processor down', () => {
      const machine = machineWith('0f 0b');
      machine.state.idtrLimit = 0;
      expect(machine.run()).toBe('shutdown');
    });
  });

  describe('maskable interrupts and NMI', () => {
    it('an interrupt waits for IF and comes at an instruction boundary of a loop', () => {
      const machine = machineWith('ff c0 eb fc'); // inc eax; jmp
      machine.interrupts.push(0x40);
      machine.processor.requestExit();
      expect(machine.run(1000)).toBe('budget');
      machine.processor.context.rflags |= Rflags.IF;
      const frame = machine.event();
      expect(frame.vector).toBe(0x40);
      expect([Place.code, Place.code + 2]).toContain(frame.rip);
      expect(frame.rflags & Rflags.IF).toBe(Rflags.IF);
      expect(machine.state.rflags & Rflags.IF).toBe(0);
    });

    it('STI holds interrupts off for one instruction (SDM vol. 2B, STI)', () => {
      const machine = machineWith('fb ff c0 ff c0 ff c0 f4'); // sti; inc eax, three times
      machine.interrupts.push(0x40);
      expect(machine.event()).toMatchObject({ vector: 0x40, rip: Place.code + 3 });
      expect(machine.gpr(RAX)).toBe(1n);
    });

    it('STI with IF already set has no shadow', () => {
      const machine = machineWith('fb ff c0 ff c0 f4');
      machine.processor.context.rflags |= Rflags.IF;
      machine.interrupts.push(0x40);
      expect(machine.event()).toMatchObject({ vector: 0x40, rip: Place.code });
    });

    it('MOV SS holds interrupts off for one instruction (SDM vol. 3 §6.8.3)', () => {
      const machine = machineWith(`8c d1      # mov ecx, ss
                                 8e d1      # mov ss, ecx
                                 ff c0      # inc eax
                                 ff c0 f4`);
      machine.processor.context.rflags |= Rflags.IF;
      // It becomes pending behind MOV SS: a run of two instructions, one at a time.
      machine.processor.stepOne();
      machine.processor.stepOne();
      machine.interrupts.push(0x40);
      expect(machine.event()).toMatchObject({ vector: 0x40, rip: Place.code + 6 });
    });

    it('a single step ends behind its instruction, though the next one cannot be fetched', () => {
      const machine = machineWith('b8 00 00 00 7f ff e0'); // mov eax, 7f000000h, which is not mapped; jmp rax
      machine.processor.stepOne();
      expect(machine.processor.stepOne()).toEqual({});
      expect(machine.state).toMatchObject({ rip: 0x7f00_0000n, cr2: 0n });
      expect(machine.processor.stepOne().fault).toMatchObject({ vector: 14, cr2: 0x7f00_0000n });
    });

    it('STI; HLT does not lose the interrupt that was pending', () => {
      const machine = machineWith('fb f4 0f 0b'); // sti; hlt; ud2
      machine.interrupts.push(0x40);
      expect(machine.event()).toMatchObject({ vector: 0x40, rip: Place.code + 2 });
    });

    it('STI; HLT: an interrupt wakes HLT though a call of run ended between the two', () => {
      const machine = machineWith('fb f4 0f 0b'); // sti; hlt; ud2
      machine.interrupts.push(0x40);
      expect(machine.run(1)).toBe('budget');
      expect(machine.state.rip).toBe(BigInt(Place.code + 1));
      expect(machine.event()).toMatchObject({ vector: 0x40, rip: Place.code + 2 });
    });

    it('HLT waits; an interrupt ends it, and the handler returns behind it', () => {
      const machine = machineWith('fb f4 ff c3 0f 0b'); // sti; hlt; inc ebx; ud2
      machine.write(handlerOf(0x40), hex('ff c0 48 cf')); // inc eax; iretq
      expect(machine.run()).toBe('halt');
      expect(machine.run()).toBe('halt');
      expect(machine.state.rip).toBe(BigInt(Place.code + 2));
      machine.interrupts.push(0x40);
      expect(machine.event()).toMatchObject({ vector: 6, rip: Place.code + 4 });
      expect(machine.gpr(RAX)).toBe(1n);
      expect(machine.gpr(RBX)).toBe(1n);
    });

    it('HLT sleeps before an instruction that cannot be fetched, and the fault comes when it is woken', () => {
      const machine = machineWith('fb e9 f9 0f 00 00'); // sti; jmp to the page's last byte
      const last = Place.code + 0xfff;
      machine.write(last, hex('f4'));
      machine.setPte(last + 1, 0n);
      expect(machine.run()).toBe('halt');
      expect(machine.state.rip).toBe(BigInt(last + 1));
      machine.write(handlerOf(0x40), hex('48 cf')); // iretq
      machine.interrupts.push(0x40);
      expect(machine.event()).toMatchObject({ vector: 14, rip: last + 1 });
    });

    it('HLT with IF clear sleeps through interrupts, but an NMI ends it (SDM vol. 2A, HLT)', () => {
      const machine = machineWith('f4 0f 0b');
      machine.interrupts.push(0x40);
      expect(machine.run()).toBe('halt');
      expect(machine.state.rip).toBe(BigInt(Place.code + 1));
      machine.nmi = true;
      expect(machine.event()).toMatchObject({ vector: 2, rip: Place.code + 1 });
    });

    it('an NMI blocks NMIs until IRET (SDM vol. 3 §6.7.1)', () => {
      const machine = machineWith('90 90 90 f4');
      machine.write(handlerOf(2), hex('ff c0 48 cf')); // inc eax; iretq
      machine.nmi = true;
      machine.processor.stepOne();
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RAX)).toBe(1n);
      machine.nmi = true;
      machine.load('90 f4');
      machine.state.halted = 0;
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RAX)).toBe(2n);
    });
  });
});
