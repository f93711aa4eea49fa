/**
 * A processor that changes what another one executes, by the protocol of SDM vol. 3 §9.1.3: the code is written, then a flag; the other processor
 * waits for the flag, and serializes. Beside the code are words that both write all the time.
 */
import { describe, expect, it } from 'vitest';
import { microvm } from '../index.ts';
import { assemble, jump, jumpIf } from '../testing/assemble.ts';
import { dword, makeKernel, POWER_OFF, START_SECOND, store, TRAMPOLINE_OFFSET, trampoline } from '../testing/kernels.ts';
import { testThreads } from '../testing/vcpu-threads.ts';

const LIMIT_MS = 120_000;
const ROUNDS = 10_000;
const SECOND = 0x800;
/** EDI: the code, a page of its own, with words in it. */
const CODE = 0x30_0000;
/** ESI: what the processors tell each other, and in the end this test. */
const FLAGS = 0x20_0000;
const Flag = { round: 0, done: 0x40, writes: 0x80, failures: 0xc0, calls: 0xc4, end: 0x100 } as const;
/** Words in the same 64 bytes as the code, and in the same page only; each processor's own, and those that both count up. */
const Word = { near: 0x20, nearLocked: 0x24, nearSecond: 0x28, both: 0x2c, far: 0x200, farBoth: 0x204 } as const;
/** Between writes to the words: who writes without a pause keeps the other one from running. */
const LOOKS = 300;
const [Z, NZ] = [4, 5];

const inc = (offset: number): number[] => [0xff, 0x87, ...dword(offset)]; // inc dword [rdi + offset]
const lockInc = (offset: number): number[] => [0xf0, ...inc(offset)];
/** mov edi, CODE; mov esi, FLAGS */
const ADDRESSES = [0xbf, ...dword(CODE), 0xbe, ...dword(FLAGS)];

/** EBX: the round; R12D: how often it has written to the words. */
const FIRST = assemble([
  [...store(FLAGS, 0), ...START_SECOND, ...ADDRESSES],
  [0x31, 0xdb, 0x45, 0x31, 0xe4], // xor ebx, ebx; xor r12d, r12d
  'round:',
  [0xff, 0xc3, 0x89, 0xda, 0xf6, 0xc3, 0x01], // inc ebx; mov edx, ebx; test bl, 1
  jumpIf(Z, 'even'),
  // mov eax, round; ret
  [0x48, 0xb8, 0xb8, 0, 0, 0, 0, 0xc3, 0x90, 0x90, 0x48, 0xc1, 0xe2, 8], // mov rax; shl rdx, 8
  jump('write'),
  'even:',
  // xor eax, eax; add eax, round; ret
  [0x48, 0xb8, 0x31, 0xc0, 0x05, 0, 0, 0, 0, 0xc3, 0x48, 0xc1, 0xe2, 24],
  'write:',
  [0x48, 0x09, 0xd0, 0x48, 0x89, 0x07, 0x89, 0x1e], // or rax, rdx; mov [rdi], rax; mov [rsi], ebx
  'wait:',
  [...inc(Word.near), ...lockInc(Word.nearLocked), ...lockInc(Word.both), ...inc(Word.far), ...lockInc(Word.farBoth)],
  [0x41, 0xff, 0xc4, 0xb9, ...dword(LOOKS)], // inc r12d; mov ecx, LOOKS
  'look:',
  [0xf3, 0x90, 0x39, 0x5e, Flag.done], // pause; cmp [rsi + done], ebx
  jumpIf(Z, 'seen'),
  [0xff, 0xc9], // dec ecx
  jumpIf(NZ, 'look'),
  jump('wait'),
  'seen:',
  [0x81, 0xfb, ...dword(ROUNDS)], // cmp ebx, ROUNDS
  jumpIf(NZ, 'round'),
  [0x44, 0x89, 0xa6, ...dword(Flag.writes)], // mov [rsi + writes], r12d
  'end:',
  [0xf3, 0x90, 0x83, 0xbe, ...dword(Flag.end), 0], // pause; cmp dword [rsi + end], 0
  jumpIf(Z, 'end'),
  POWER_OFF,
]);

/** R14D: the round; R13D: rounds and calls; EBP: calls that saw other code than that of the round. */
const SECOND_CODE = assemble([
  [...ADDRESSES, 0xbc, ...dword(0x8_f000)], // mov esp
  [0x31, 0xed, 0x45, 0x31, 0xed, 0x45, 0x31, 0xf6], // xor ebp, ebp; xor r13d, r13d; xor r14d, r14d
  'round:',
  [0x41, 0xff, 0xc6], // inc r14d
  'wait:',
  [0xf3, 0x90, 0x44, 0x39, 0x36], // pause; cmp [rsi], r14d
  jumpIf(NZ, 'wait'),
  [0x31, 0xc0, 0x0f, 0xa2], // xor eax, eax; cpuid
  // Now and then often enough to be compiled.
  [0x41, 0xbf, ...dword(2), 0x41, 0xf6, 0xc6, 0x1f], // mov r15d, 2; test r14b, 31
  jumpIf(NZ, 'call'),
  [0x41, 0xbf, ...dword(300)], // mov r15d, 300
  'call:',
  [0xff, 0xd7, 0x44, 0x39, 0xf0, 0x0f, 0x95, 0xc0, 0x0f, 0xb6, 0xc0, 0x01, 0xc5], // call rdi; cmp eax, r14d; setne al; add ebp, eax
  [0x41, 0xff, 0xc5, 0x41, 0xff, 0xcf], // inc r13d; dec r15d
  jumpIf(NZ, 'call'),
  [...inc(Word.nearSecond), ...lockInc(Word.both), ...lockInc(Word.farBoth)],
  [0x44, 0x89, 0x76, Flag.done, 0x41, 0x81, 0xfe, ...dword(ROUNDS)], // mov [rsi + done], r14d; cmp r14d, ROUNDS
  jumpIf(NZ, 'round'),
  [0x89, 0xae, ...dword(Flag.failures), 0x44, 0x89, 0xae, ...dword(Flag.calls)], // mov [rsi + failures], ebp; mov [rsi + calls], r13d
  [0xc7, 0x86, ...dword(Flag.end), ...dword(1)], // mov dword [rsi + end], 1
  [0xf4, 0xeb, 0xfd],
]);

describe('code that another processor writes', () => {
  it.each([
    ['interp', true],
    ['jit', true],
    ['jit', false],
  ] as const)(
    'is the new one after flag and CPUID, and keeps its neighbours: tier %s, threads %s',
    async (tier, withThreads) => {
      // On a busy host, whoever spins takes the time of the one that it waits for.
      const pool = testThreads(undefined, 1);
      const machine = await microvm.create({
        tier,
        memoryBytes: 32 << 20,
        cpuModel: 'max',
        cpus: 2,
        kernel: makeKernel({ 0: FIRST, [SECOND]: SECOND_CODE, [TRAMPOLINE_OFFSET]: trampoline(SECOND) }),
        cmdline: '',
        serial: [{ write: () => undefined }],
        ...(withThreads && { threads: pool.threads }),
      });
      const word = (gpa: number): number => {
        const bytes = new Uint8Array(4);
        machine.vm.memory.read(gpa, bytes);
        return new DataView(bytes.buffer).getUint32(0, true);
      };
      const deadline = setTimeout(machine.stop, LIMIT_MS - 5000);
      try {
        const { reason } = await machine.start();
        expect({ reason, round: word(FLAGS + Flag.round) }).toEqual({ reason: 'poweroff', round: ROUNDS });
        const writes = word(FLAGS + Flag.writes);
        expect(word(FLAGS + Flag.failures)).toBe(0);
        expect(word(FLAGS + Flag.calls)).toBe(ROUNDS * 2 + Math.floor(ROUNDS / 32) * 298);
        expect(Object.values(Word).map((offset) => word(CODE + offset))).toEqual([
          ...[writes, writes, ROUNDS, writes + ROUNDS],
          ...[writes, writes + ROUNDS],
        ]);
        if (tier === 'jit') expect(machine.stats()['cpu.regions']).toBeGreaterThan(10);
      } finally {
        clearTimeout(deadline);
        await machine.dispose();
      }
    },
    LIMIT_MS,
  );
});
