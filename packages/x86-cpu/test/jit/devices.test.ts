/** What an instruction does to a device must happen once, however often the compiled tier has to begin it again. */
import { describe, expect, it } from 'vitest';
import { compareTiers } from './compare.ts';
import { TierMachine } from './machine.ts';
import { DATA_BYTES, FRAME, FRAME_2, Place, STACK_TOP } from './places.ts';
import type { Program } from './program.ts';

const ROUNDS = 200;
const HEAT = 3;

const le32 = (value: number): number[] => [0, 8, 16, 24].map((n) => (value >>> n) & 0xff);

/** `body` in a loop of `ROUNDS`; RBX is a device's address. */
function loop(body: readonly number[], mode: 32 | 64): Program {
  const start = [0xb9, ...le32(ROUNDS), 0xbb, ...le32(Place.device + 0x40)];
  const end = [0x83, 0xe9, 0x01, 0x0f, 0x85, 0, 0, 0, 0, 0xf4]; // sub ecx, 1; jnz body; hlt
  return {
    seed: 1,
    mode,
    cpl: 0,
    offset: 0x200,
    blocks: [
      { gap: 0, items: [{ bytes: start }] },
      { gap: 0, items: [{ bytes: body }, { bytes: end, fixups: [{ kind: 'rel32', at: 5, end: 9, to: { block: 1 } }] }] },
    ],
    gpr: new BigUint64Array(16),
    rflags: 0,
    xmm: new BigUint64Array(32),
    data: new Uint8Array(DATA_BYTES),
    fuel: 50 * ROUNDS,
    fsBase: 0,
    gsBase: 0,
    stackTop: STACK_TOP,
    frame: FRAME,
    frame2: FRAME_2,
  };
}

/** Behind the program, but in 64 bytes that hold some of it: a store there may be one into code. */
const BESIDE_CODE = Place.code + 0x23c;

describe('an instruction of a compiled region that reads a device', () => {
  const cases: [string, readonly number[], (32 | 64)?][] = [
    ['PUSH of memory, to a stack beside code', [0xbc, ...le32(BESIDE_CODE), 0xff, 0x33]],
    ['MOVS, to a place beside code', [0x48, 0x89, 0xde, 0xbf, ...le32(BESIDE_CODE - 8), 0x48, 0xa5]],
    ['CALL of memory, with a stack beside code', [0xbc, ...le32(BESIDE_CODE), 0xff, 0x13], 32],
    [
      'IDIV that divides by zero, after a store beside code was begun again',
      [
        ...[0xff, 0x04, 0x25, ...le32(Place.data)], // inc dword [data]
        ...[0xf6, 0x04, 0x25, ...le32(Place.data), 1], // test byte [data], 1
        ...[0x74, 0x07, 0x89, 0x04, 0x25, ...le32(BESIDE_CODE)], // jz +7; mov [beside], eax
        ...[0x66, 0xb8, 0xff, 0x7f, 0xf6, 0x3b], // mov ax, 7fffh; idiv byte [rbx]
      ],
    ],
  ];
  for (const [name, body, mode = 64] of cases)
    it(`reads it once: ${name}`, () => {
      const machine = new TierMachine({ tier: 'jit', heat: HEAT });
      const { difference } = compareTiers(new TierMachine({ tier: 'interp' }), machine, loop(body, mode));
      expect(difference).toBeUndefined();
      expect(machine.io.length).toBeGreaterThan(10);
      expect(machine.processor.stats().regions).toBeGreaterThan(0);
    });
});
