/** Where a program's word lies, and with it how the instructions have to go about it. */
import type { Program, Size } from './programs.ts';

const ALIGNED = 0x100;
const PAGE = 0x1000;
/** Pages of a program's words, and of its code. */
const WORDS = 0x20_0000;
const CODE = 0x80_0000;
const EACH = 2 * PAGE;

export type Place = {
  readonly name: string;
  /** None: instructions of this size are never there. */
  readonly offset: (size: Size, cpu: number) => number | undefined;
  /** Where all others have to stand still for an instruction, fewer rounds have to do. */
  readonly rounds: number;
  readonly fits?: (program: Program) => boolean;
};

const ROUNDS = 20_000;
const FEW_ROUNDS = 160;

export const PLACES: readonly Place[] = [
  { name: 'aligned', offset: () => ALIGNED, rounds: ROUNDS },
  { name: 'within 8 bytes', offset: (size) => (size === 2 || size === 4 ? ALIGNED + 1 : undefined), rounds: FEW_ROUNDS },
  {
    name: 'across 8 bytes',
    offset: (size) => (size === 1 || size === 16 ? undefined : ALIGNED + 8 - size / 2),
    rounds: FEW_ROUNDS,
  },
  { name: 'across pages', offset: (size) => (size === 1 || size === 16 ? undefined : PAGE - size / 2), rounds: FEW_ROUNDS },
  {
    name: 'half of it the half of another word',
    offset: (size, cpu) => (size === 1 || size === 16 ? undefined : ALIGNED + (cpu ? size / 2 : 0)),
    rounds: FEW_ROUNDS,
    fits: ({ overlaps }) => overlaps === true,
  },
];

export type Case = {
  readonly program: Program;
  readonly size: Size;
  readonly place: Place;
  readonly n: number;
  readonly address: (cpu: number) => number;
  readonly code: (cpu: number) => number;
};

/** Every program with every size everywhere. */
export function casesOf(programs: readonly Program[]): Case[] {
  const cases: Case[] = [];
  for (const program of programs)
    for (const place of PLACES)
      for (const size of program.sizes) {
        if (place.offset(size, 0) === undefined || place.fits?.(program) === false) continue;
        const index = cases.length;
        cases.push({
          program,
          size,
          place,
          // CMPXCHG16B is no operation that hosts have, wherever it is.
          n: size === 16 ? FEW_ROUNDS : place.rounds,
          address: (cpu) => WORDS + EACH * index + (place.offset(size, cpu) as number),
          code: (cpu) => CODE + EACH * index + PAGE * cpu,
        });
      }
  return cases;
}
