/** Debug registers: breakpoints on instructions, data and ports, and what goes with them (SDM vol. 3 §18.2–18.3). */
import { beforeEach, describe, expect, it } from 'vitest';
import { Rflags } from '../../src/index.ts';
import { Cr4 } from '../../src/system/context.ts';
import type { EngineOptions } from './engine.ts';
import { TIERS } from './engine.ts';
import { LongModeMachine, Place } from './long-mode.ts';

const DB = 1;
const UD = 6;
const GP = 13;
const HLT = 'f4';
const NOP = '90';
const BD = 1n << 13n;
const BS = 1n << 14n;
const EXECUTE = 0;
const WRITE = 1;
const PORT = 2;
const ACCESS = 3;
/** DR7.LEN fields by bytes. */
const LENGTH: Readonly<Record<number, number>> = { 1: 0, 2: 1, 4: 3, 8: 2 };
const DATA = Place.data + 0x100;
/** mov [rdi], eax; mov eax, [rdi] */
const STORE = '89 07';
const LOAD = '8b 07';

class DebuggedMachine extends LongModeMachine {
  constructor(options: EngineOptions) {
    super(options);
    this.state.gpr[7] = BigInt(DATA);
  }
  /** Enables breakpoint `n` locally; for the program it has been so all along. */
  arm(n: number, address: number, kind: number, bytes = 1): void {
    const { state, breakpoints } = this.processor.context;
    state.dr[n] = BigInt(address);
    const field = kind | ((LENGTH[bytes] ?? 0) << 2);
    state.dr[7] |= (1n << BigInt(2 * n)) | (BigInt(field) << BigInt(16 + 4 * n));
    breakpoints.update();
  }
  get causes(): bigint {
    return this.state.dr[6] & 0xe00fn;
  }
  go(): void {
    this.state.halted = 0;
  }
}

describe.each(TIERS)('%s', (_name, options) => {
  let m: DebuggedMachine;
  beforeEach(() => {
    m = new DebuggedMachine(options);
  });

  it('a breakpoint on an instruction is a fault before it, and RF lets it run (§18.3.1.1)', () => {
    m.arm(1, Place.code + 1, EXECUTE);
    m.load(`${NOP} ${NOP} ${HLT}`);
    const frame = m.event();
    expect(frame).toMatchObject({ vector: DB, rip: Place.code + 1 });
    expect(m.causes).toBe(2n);
    expect(frame.rflags & Rflags.RF, 'the handler has to set it').toBe(0);
    // Goes on with RF set, through IRET; the second time the breakpoint is there again.
    m.state.rip = BigInt(Place.code + 1);
    m.state.gpr[4] = BigInt(Place.stack);
    m.processor.context.rflags |= Rflags.RF;
    m.go();
    expect(m.run()).toBe('halt');
    expect(m.state.rip).toBe(BigInt(Place.code + 3));
    expect(m.processor.context.rflags & Rflags.RF).toBe(0);
  });

  it('in a loop it stops every round', () => {
    // mov ecx, 3; again: dec ecx; jnz again; the handler sets RF in its frame and counts.
    m.write(Place.handlers + 16 * DB, [0xe9, 0xeb, 0x03, 0x00, 0x00]); // jmp 400h further
    m.write(Place.handlers + 16 * DB + 0x3f0, [0xff, 0xc3, 0x48, 0x0f, 0xba, 0x6c, 0x24, 0x10, 0x10, 0x48, 0xcf]); // inc ebx; bts qword [rsp+16], 16; iretq
    m.arm(0, Place.code + 5, EXECUTE);
    m.load(`b9 03 00 00 00 ff c9 75 fc ${HLT}`);
    expect(m.run()).toBe('halt');
    expect(m.state.rip).toBe(BigInt(Place.code + 10));
    expect(m.gpr(3)).toBe(3n);
  });

  it.each([
    ['a write breakpoint, by a write', WRITE, STORE, true],
    ['a write breakpoint, not by a read', WRITE, LOAD, false],
    ['an access breakpoint, by a read', ACCESS, LOAD, true],
    ['an access breakpoint, by a write', ACCESS, STORE, true],
    ['an access breakpoint, by both of an ADD', ACCESS, '01 07', true],
  ])('%s traps behind the instruction (§18.3.1.2)', (_what, kind, program, stops) => {
    m.load(`${program} ${NOP} ${HLT}`);
    m.arm(3, DATA, kind, 4);
    if (!stops) {
      expect(m.run()).toBe('halt');
      expect(m.state.rip).toBe(BigInt(Place.code + 4));
      return;
    }
    expect(m.event()).toMatchObject({ vector: DB, rip: Place.code + 2 });
    expect(m.causes).toBe(8n);
  });

  it('every byte of an aligned range counts, and none beside it (§18.2.5)', () => {
    for (const bytes of [1, 2, 4, 8]) {
      for (const offset of [-4, -1, 0, bytes - 1, bytes, bytes + 3]) {
        m = new DebuggedMachine(options);
        // mov byte [rdi], 1
        m.load(`c6 07 01 ${HLT}`);
        m.state.gpr[7] = BigInt(DATA + offset);
        // The low bits of the address do not count.
        m.arm(0, DATA + (bytes > 2 ? 1 : 0), WRITE, bytes);
        const inside = offset >= 0 && offset < bytes;
        if (inside) expect(m.event(), `${bytes} ${offset}`).toMatchObject({ vector: DB, rip: Place.code + 3 });
        else {
          expect(m.run(), `${bytes} ${offset}`).toBe('halt');
          expect(m.state.rip).toBe(BigInt(Place.code + 4));
        }
      }
    }
  });

  it('an access that only reaches into the range counts, over a page boundary too', () => {
    m.state.gpr[7] = BigInt(Place.data + 0xffe);
    m.arm(0, Place.data + 0x1001, WRITE, 1);
    m.load(`${STORE} ${HLT}`);
    expect(m.event()).toMatchObject({ vector: DB, rip: Place.code + 2 });
  });

  it('pushes, string instructions and vectors are seen; a repeated one stops in the round that did it', () => {
    m.arm(0, Place.stack - 8, WRITE, 8);
    m.load(`50 ${HLT}`);
    expect(m.event()).toMatchObject({ vector: DB, rip: Place.code + 1 });
    m = new DebuggedMachine(options);
    m.arm(0, DATA + 8, WRITE, 8);
    m.load(`0f 11 07 ${HLT}`); // movups [rdi], xmm0
    expect(m.event()).toMatchObject({ vector: DB, rip: Place.code + 3 });
    m = new DebuggedMachine(options);
    m.arm(0, DATA + 8, WRITE, 4);
    m.state.gpr[1] = 8n;
    m.load(`f3 ab ${HLT}`); // rep stosd
    expect(m.event()).toMatchObject({ vector: DB, rip: Place.code });
    expect(m.gpr(1)).toBe(5n);
  });

  it('an instruction that faults has accessed nothing', () => {
    m.setPte(Place.data + 0x1000, 0n);
    m.processor.context.flushTlb();
    m.state.gpr[7] = BigInt(Place.data + 0xffe);
    m.arm(0, Place.data + 0xffe, ACCESS, 2);
    m.load(`${STORE} ${HLT}`);
    expect(m.event()).toMatchObject({ vector: 14 });
    expect(m.causes).toBe(0n);
  });

  it('with TF, one trap has both causes', () => {
    m.arm(2, DATA, WRITE, 4);
    m.processor.context.rflags |= Rflags.TF;
    m.processor.context.updateMode();
    m.load(`${STORE} ${HLT}`);
    expect(m.event()).toMatchObject({ vector: DB, rip: Place.code + 2 });
    expect(m.causes).toBe(BS | 4n);
  });

  it('MOV SS puts a trap off until behind the next instruction (§6.8.3)', () => {
    m.setU64(DATA, 0x10n);
    m.arm(0, DATA, ACCESS, 2);
    m.load(`8e 17 ${NOP} ${NOP} ${HLT}`); // mov ss, [rdi]
    expect(m.event()).toMatchObject({ vector: DB, rip: Place.code + 3 });
  });

  it('a port, with CR4.DE', () => {
    for (const de of [true, false]) {
      m = new DebuggedMachine(options);
      if (de) m.state.cr4 |= BigInt(Cr4.DE);
      m.arm(0, 0x80, PORT, 1);
      m.load(`e6 80 ${NOP} ${HLT}`);
      if (de) expect(m.event()).toMatchObject({ vector: DB, rip: Place.code + 2 });
      else {
        expect(m.run()).toBe('halt');
        expect(m.state.rip).toBe(BigInt(Place.code + 4));
      }
    }
  });

  it('MOV to DR0 and DR7 take effect at once, and DR7 without enables ends it', () => {
    // mov rax, DATA; mov dr0, rax; mov eax, D0001; mov dr7, rax; mov [rdi], eax
    m.load(`48 c7 c0 00 01 04 00 0f 23 c0 b8 01 00 0d 00 0f 23 f8 ${STORE} ${HLT}`);
    expect(m.event()).toMatchObject({ vector: DB, rip: Place.code + 20 });
    m.go();
    // xor eax, eax; mov dr7, rax; mov [rdi], eax
    m.load(`31 c0 0f 23 f8 ${STORE} ${HLT}`);
    expect(m.run()).toBe('halt');
    expect(m.state.rip).toBe(BigInt(Place.code + 8));
    expect(m.state.watch).toBe(0);
  });

  it('DR7.GD makes an access to a debug register a fault, whose handler may use them (§18.2.4)', () => {
    for (const access of ['0f 23 c0', '0f 21 c0']) {
      m = new DebuggedMachine(options);
      m.state.dr[7] |= 1n << 13n;
      m.load(`${access} ${HLT}`);
      expect(m.event()).toMatchObject({ vector: DB, rip: Place.code });
      expect(m.causes).toBe(BD);
      expect(m.state.dr[7] & (1n << 13n)).toBe(0n);
    }
  });

  it('DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE; upper halves are #GP; CPL 3 may not', () => {
    m.load(`0f 21 e0 ${HLT}`); // mov rax, dr4
    expect(m.run()).toBe('halt');
    expect(m.gpr(0)).toBe(m.state.dr[6]);
    m.go();
    m.state.cr4 |= BigInt(Cr4.DE);
    m.load('0f 21 e0');
    expect(m.event().vector).toBe(UD);
    m = new DebuggedMachine(options);
    m.load('48 83 c8 ff 0f 23 f8'); // or rax, -1; mov dr7, rax
    expect(m.event().vector).toBe(GP);
    m = new DebuggedMachine(options);
    m.enterUser();
    m.load('0f 21 c0', Place.user);
    expect(m.event()).toMatchObject({ vector: GP, rip: Place.user });
  });
});
