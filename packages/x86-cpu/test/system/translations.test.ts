/** Translations follow the bytes: self-modifying code, remapped pages, and an arena that fills up. */
import { describe, expect, it } from 'vitest';
import { Rflags } from '../../src/index.ts';
import { type EngineOptions, TIERS } from './engine.ts';
import { hex, LongModeMachine, Page, Place } from './long-mode.ts';

const RAX = 0;
const RBX = 3;
/** A function in a page of its own, and its page-table entry. */
const FUNCTION = Place.data + 0x1000;
const OTHER = Place.data + 0x1_1000;

describe.each(TIERS)('%s', (_, tier) => {
  const machineWith = (program: string, options: EngineOptions = {}): LongModeMachine => {
    const machine = new LongModeMachine({ ...tier, ...options });
    machine.load(program);
    return machine;
  };

  it('a row of branches to the next instruction is translated in no time', () => {
    const machine = machineWith(`b9 05 00 00 00 ${'70 00'.repeat(50)} ff c9 75 ${(0x100 - 104).toString(16)} f4`); // mov ecx, 5; jo …; dec; jnz
    expect(machine.run()).toBe('halt');
  });

  describe('self-modifying code (SDM vol. 3 §12.6)', () => {
    it('a store to the very next instruction, in the same block, takes effect', () => {
      const machine = machineWith(`c6 05 01 00 00 00 02            # mov byte [rip + 1], 2
                                 b0 01                           # mov al, 1
                                 f4`);
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RAX)).toBe(2n);
    });

    it('a store to an earlier instruction of the page takes effect when the loop comes round', () => {
      const machine = machineWith(`b9 02 00 00 00                  # mov ecx, 2
                                 b8 01 00 00 00                  # mov eax, 1
                                 01 c3                           # add ebx, eax
                                 c7 05 f0 ff ff ff 05 00 00 00   # mov dword [rip - 16], 5
                                 ff c9 75 eb f4                  # dec ecx; jnz; hlt`);
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(6n);
    });

    it('a store into its own block by the last instruction of a page goes on in the next page', () => {
      const machine = machineWith('');
      machine.load(
        `90                              # nop
         c6 05 f8 ff ff ff 90            # mov byte [rip - 8], 90h
         b0 07 f4                        # mov al, 7; hlt`,
        Place.code + 0xff8,
      );
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RAX)).toBe(7n);
    });

    it('a call whose push overwrites its own block arrives', () => {
      const machine = machineWith(`48 c7 c4 08 00 01 00            # mov rsp, code + 8
                                 e8 01 00 00 00 f4 b0 07 f4      # call +1; hlt; mov al, 7; hlt`);
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RAX)).toBe(7n);
    });

    it.each([
      ['MOV', '48 89 03', 0],
      ['PUSH', '50', 8],
    ])('the very next instruction, by a %s that the interpreter has a case for together with it', (_, store, below) => {
      const bytes = hex(store);
      // mov rdx, rcx; which becomes mov rdx, rsi
      const machine = machineWith(`${store} 48 89 ca 90 90 90 90 90 f4`);
      const next = BigInt(Place.code + bytes.length);
      machine.state.gpr.set([0x9090_9090_90f2_8948n, 1n, 0n, next], RAX);
      machine.state.gpr[4] = next + BigInt(below);
      machine.state.gpr[6] = 2n;
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(2)).toBe(2n);
    });

    it('is told of once the store is done: who translates from then on has the new bytes', () => {
      // mov al, 0x90; mov [rbx], al, which is a HLT before
      const machine = machineWith('b0 90 88 03 f4 f4');
      const at = Place.code + 4;
      machine.state.gpr[RBX] = BigInt(at);
      const seen: number[][] = [];
      const { processor } = machine;
      const codeWritten = processor.codeWritten.bind(processor);
      processor.codeWritten = (host, length) => {
        seen.push([machine.guest.readU8(at), length]);
        codeWritten(host, length);
      };
      expect(machine.run()).toBe('halt');
      expect(machine.state.rip).toBe(BigInt(at + 2));
      expect(seen).toEqual([[0x90, 1]]);
    });

    it('a store that reaches into a code page from the page before', () => {
      const machine = machineWith(`e8 fb 0f 03 00 01 c3            # call function; add ebx, eax
                                 48 b8 00 00 00 00 b8 07 00 00   # mov rax, 0x7b800000000
                                 48 89 04 25 fc 0f 04 00         # mov [function - 4], rax
                                 e8 e2 0f 03 00 01 c3 f4         # call function; add ebx, eax; hlt`);
      machine.write(FUNCTION, hex('b8 01 00 00 00 c3'));
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(8n);
    });

    it('REP MOVSB over a function', () => {
      const machine = machineWith(`e8 fb 0f 03 00 01 c3            # call function; add ebx, eax
                                 be 00 00 05 00 bf 00 10 04 00   # mov esi, 0x50000; mov edi, function
                                 b9 06 00 00 00 f3 a4            # mov ecx, 6; rep movsb
                                 e8 e3 0f 03 00 01 c3 f4         # call function; add ebx, eax; hlt`);
      machine.write(FUNCTION, hex('b8 01 00 00 00 c3'));
      machine.write(0x5_0000, hex('b8 09 00 00 00 c3'));
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(10n);
    });

    it('a device that writes guest memory', () => {
      const machine = machineWith('e8 fb 0f 03 00 f4');
      machine.write(FUNCTION, hex('b8 01 00 00 00 c3'));
      expect(machine.run()).toBe('halt');
      machine.write(FUNCTION + 1, [0x2a]);
      machine.state.rip = BigInt(Place.code);
      machine.state.halted = 0;
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RAX)).toBe(0x2an);
    });

    it('a function rewritten 200 times: callers that were linked to it reach the new one', () => {
      const machine = machineWith(`b9 c8 00 00 00                  # mov ecx, 200
                                 e8 f6 00 00 00 01 c3            # call 0x10100; add ebx, eax
                                 fe 05 ef 00 00 00               # inc byte [0x10101]
                                 ff c9 75 ef f4                  # dec ecx; jnz; hlt`);
      machine.write(Place.code + 0x100, hex('b8 01 00 00 00 c3'));
      const { flushes } = machine.processor.stats();
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(20_100n);
      expect(machine.processor.stats().flushes).toBe(flushes);
    });

    it('a function in another page, rewritten through a register before each call', () => {
      const machine = machineWith(`b9 c8 00 00 00 bf 01 10 04 00   # mov ecx, 200; mov edi, FUNCTION + 1
                                 fe 07                           # inc byte [rdi]
                                 e8 ef 0f 03 00 01 c3            # call FUNCTION; add ebx, eax
                                 ff c9 75 f3 f4                  # dec ecx; jnz; hlt`);
      machine.write(FUNCTION, hex('b8 00 00 00 00 c3'));
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(20_100n);
    });

    it('data in the page of the code that writes it retires nothing', () => {
      const machine = machineWith(`b9 e8 03 00 00                  # mov ecx, 1000
                                 ff 05 f5 07 00 00               # inc dword [0x10800]
                                 ff c9 75 f6 f4                  # dec ecx; jnz; hlt`);
      expect(machine.run()).toBe('halt');
      expect(machine.u64(Place.code + 0x800)).toBe(1000n);
      expect(machine.processor.stats().translated).toBeLessThan(100);
    });
  });

  describe('pages that are mapped elsewhere', () => {
    /** Calls at `target`, keeps EAX in EBX, gives the function's page the entry `pte`, and calls again. */
    const callRemapCall = (target: number, pte: string): string => {
      const relative = (from: number): string => {
        const bytes = Buffer.alloc(4);
        bytes.writeInt32LE(target - (Place.code + from));
        return bytes.toString('hex');
      };
      return `e8 ${relative(5)} 89 c3             # call; mov ebx, eax
            48 c7 04 25 08 72 00 00 ${pte}      # mov qword [entry of FUNCTION's page], pte
            0f 01 3c 25 00 10 04 00             # invlpg [FUNCTION]
            e8 ${relative(0x20)} f4             # call; hlt`;
    };

    it('after INVLPG the other page runs', () => {
      const machine = machineWith(callRemapCall(FUNCTION, '03 10 05 00'));
      machine.write(FUNCTION, hex('b8 01 00 00 00 c3'));
      machine.write(OTHER, hex('b8 02 00 00 00 c3'));
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(1n);
      expect(machine.gpr(RAX)).toBe(2n);
    });

    const crossing = FUNCTION - 3;

    it('the second page of an instruction that crosses', () => {
      const machine = machineWith(callRemapCall(crossing, '03 10 05 00'));
      machine.write(crossing, hex('b8 11 11 22 22 c3')); // mov eax, 0x22221111
      machine.write(OTHER, hex('33 33 c3'));
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(0x2222_1111n);
      expect(machine.gpr(RAX)).toBe(0x3333_1111n);
    });

    it('the second page is gone: #PF for the instruction, with the second page in CR2', () => {
      const machine = machineWith(callRemapCall(crossing, '00 00 00 00'));
      machine.write(crossing, hex('b8 11 11 22 22 c3'));
      expect(machine.event()).toMatchObject({ vector: 14, error: 0x10, rip: crossing });
      expect(machine.state.cr2).toBe(BigInt(FUNCTION));
      expect(machine.gpr(RBX)).toBe(0x2222_1111n);
    });

    it('the second page was never there', () => {
      const machine = machineWith('e9 f8 0f 03 00'); // jmp crossing
      machine.write(crossing, hex('b8 11 11'));
      machine.setPte(FUNCTION, 0n);
      expect(machine.event()).toMatchObject({ vector: 14, rip: crossing });
      expect(machine.state.cr2).toBe(BigInt(FUNCTION));
    });

    it('a store to the second page retires the crossing instruction', () => {
      const machine = machineWith(`e8 f8 0f 03 00 89 c3            # call crossing; mov ebx, eax
                                 c6 04 25 01 10 04 00 55         # mov byte [FUNCTION + 1], 0x55
                                 e8 e9 0f 03 00 f4               # call crossing; hlt`);
      machine.write(crossing, hex('b8 11 11 22 22 c3'));
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(0x2222_1111n);
      expect(machine.gpr(RAX)).toBe(0x5522_1111n);
    });

    it('one page at two addresses: a store through the one changes the code at the other', () => {
      const machine = machineWith(`e8 fb 0f 03 00 89 c3            # call FUNCTION; mov ebx, eax
                                 c6 04 25 01 30 04 00 2a         # mov byte [alias + 1], 0x2a
                                 e8 ec 0f 03 00 f4               # call FUNCTION; hlt`);
      machine.write(FUNCTION, hex('b8 01 00 00 00 c3'));
      machine.setPte(FUNCTION + 0x2000, BigInt(FUNCTION) | Page.P | Page.RW);
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(1n);
      expect(machine.gpr(RAX)).toBe(0x2an);
    });
  });

  describe('data pages', () => {
    it('a mapping that changes in a loop, with INVLPG each time', () => {
      const machine = machineWith(`b9 64 00 00 00 bf 00 10 04 00         # mov ecx, 100; mov edi, FUNCTION
                                 03 1f                                 # add ebx, [rdi]
                                 48 81 34 25 08 72 00 00 00 00 01 00   # xor qword [its entry], 0x10000
                                 0f 01 3f                              # invlpg [rdi]
                                 ff c9 75 eb f4                        # dec ecx; jnz; hlt`);
      machine.setU64(FUNCTION, 1n);
      machine.setU64(OTHER, 100n);
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(5050n);
    });

    it('a page that was read may still not be written', () => {
      const machine = machineWith('bf 00 10 04 00 8b 07 89 07 f4'); // mov edi, FUNCTION; mov eax, [rdi]; mov [rdi], eax
      machine.setPte(FUNCTION, BigInt(FUNCTION) | Page.P);
      expect(machine.event()).toMatchObject({ vector: 14, error: 3, rip: Place.code + 7 });
    });

    it('an access at the end of a page that was used before reaches the next one', () => {
      const machine = machineWith(`bf 00 10 04 00 48 8b 07   # mov edi, FUNCTION; mov rax, [rdi]
                                 81 c7 fc 0f 00 00         # add edi, 0xffc
                                 48 8b 1f f4               # mov rbx, [rdi]; hlt`);
      machine.setPte(FUNCTION + 0x1000, BigInt(OTHER) | Page.P);
      machine.setU64(FUNCTION + 0xff8, 0x1122_3344_5566_7788n);
      machine.setU64(OTHER, 0x99aa_bbcc_ddee_ff00n);
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(0xddee_ff00_1122_3344n);
    });
  });

  describe('the record arena', () => {
    it('a program that does not fit is translated again and again, and still right', () => {
      const blocks = 300;
      const chain = 'ff c0 eb 00'.repeat(blocks); // inc eax; jmp to the next
      const back = Buffer.alloc(4);
      back.writeInt32LE(-(4 * blocks + 8));
      const machine = machineWith(`b9 05 00 00 00 ${chain} ff c9 0f 85 ${back.toString('hex')} f4`, { codeBytes: 16 << 10 });
      const { flushes } = machine.processor.stats();
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RAX)).toBe(BigInt(5 * blocks));
      expect(machine.processor.stats().flushes).toBeGreaterThan(flushes + 5);
    });
  });

  describe('budget and retired instructions', () => {
    it('a run ends near its budget, and counts exactly', () => {
      const machine = machineWith('ff c0 eb fc'); // inc eax; jmp
      expect(machine.run(10_000)).toBe('budget');
      expect(Number(machine.gpr(RAX)) * 2).toBe(machine.processor.instructions);
      expect(Math.abs(machine.processor.instructions - 10_000)).toBeLessThan(100);
    });

    it('a fault in the middle of a block counts what came before it', () => {
      const machine = machineWith('90 90 0f 0b 90 90');
      machine.event();
      expect(machine.processor.instructions).toBe(3); // two NOPs, and the handler's HLT
    });
  });

  describe('flags through the whole engine', () => {
    it('all 64 combinations of the status flags survive POPF, PUSHF, and a fault', () => {
      const machine = new LongModeMachine(tier);
      const flags = [Rflags.CF, Rflags.PF, Rflags.AF, Rflags.ZF, Rflags.SF, Rflags.OF];
      for (let n = 0; n < 64; n++) {
        const image = flags.reduce((all, flag, bit) => (n & (1 << bit) ? all | flag : all), Rflags.FIXED as number);
        machine.load('50 9d 9c 5b 0f 0b'); // push rax; popf; pushf; pop rbx; ud2
        machine.state.gpr[RAX] = BigInt(image);
        machine.state.gpr[4] = BigInt(Place.stack);
        machine.state.halted = 0;
        expect(machine.event().rflags).toBe(image | Rflags.RF);
        expect(machine.gpr(RBX)).toBe(BigInt(image));
      }
    });
  });

  it('a repeated comparison of nothing leaves the flags of whatever came before it (SDM vol. 2B, REP)', () => {
    for (const compare of ['a6', 'ae']) {
      const machine = machineWith(`ba ff ff ff ff 83 f8 05   # mov edx, -1; cmp eax, 5
                                   ff c2                     # inc edx: ZF
                                   f3 ${compare}             # repe cmpsb, or scasb, with ECX 0
                                   0f 94 c3 f4               # setz bl; hlt`);
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(RBX)).toBe(1n);
    }
  });

  it('a repeated comparison leaves the flags of its last element', () => {
    for (const [count, equal, below] of [
      [1, 1n, 0n],
      [3, 1n, 0n],
      [5, 0n, 1n],
    ] as const) {
      const machine = machineWith(`b9 0${count} 00 00 00                        # mov ecx, count
                                   be 00 00 04 00 bf 00 01 04 00            # mov esi, 0x40000; mov edi, 0x40100
                                   ba 05 00 00 00 ff c2                     # mov edx, 5; inc edx
                                   f3 a6 0f 94 c3 0f 92 c0 f4               # repe cmpsb; setz bl; setc al; hlt`);
      machine.write(Place.data, [1, 2, 3, 4, 5]);
      machine.write(Place.data + 0x100, [1, 2, 3, 5, 5]);
      expect(machine.run()).toBe('halt');
      expect([machine.gpr(RBX), machine.gpr(RAX)]).toEqual([equal, below]);
    }
  });

  it('runs in the tier that it says', () => {
    const machine = machineWith('b9 e8 03 00 00 ff c0 ff c9 75 fa f4'); // mov ecx, 1000; inc eax; dec ecx; jnz; hlt
    expect(machine.run()).toBe('halt');
    expect(machine.gpr(RAX)).toBe(1000n);
    expect(machine.processor.stats().regions > 0).toBe(tier.heat !== undefined);
  });
});
