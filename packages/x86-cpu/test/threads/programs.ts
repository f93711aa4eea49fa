/**
 * Loops of locked instructions on one word that two processors run at once, and what must be there afterwards: exact, whatever their order. An
 * update that is lost, or a value that is torn, changes it.
 *
 * RDI is the word's address, RSI counts rounds down, RBP counts what must not happen, R8 collects.
 */
export type Size = 1 | 2 | 4 | 8 | 16;

/** What a processor ends with. */
export type Registers = { readonly rcx: bigint; readonly rbp: bigint; readonly r8: bigint };

export type Program = {
  readonly name: string;
  readonly sizes: readonly Size[];
  /** Before the loop, and its body, for processor 0 or 1. */
  readonly before?: (size: Size, cpu: number) => readonly number[];
  readonly body: (size: Size, cpu: number) => readonly number[];
  /** What the word holds at first; 0 by default. */
  readonly initial?: bigint;
  /** Each processor leaves the other's bits alone, in words that overlap, too. */
  readonly overlaps?: boolean;
  /** Says what is wrong, if something is, after `n` rounds with a value of that many bits. */
  readonly wrong: (word: bigint, cpus: readonly Registers[], n: number, bits: number) => string | undefined;
};

const [CL, DL, BL] = [1, 2, 3];
const ALL: readonly Size[] = [1, 2, 4, 8];
const WIDE: readonly Size[] = [2, 4, 8];

const prefixes = (size: Size): readonly number[] => (size === 2 ? [0x66] : size === 8 || size === 16 ? [0x48] : []);
/** An opcode with a ModRM of [rdi]; of pairs with one bit for the size, the lower one. */
const plain = (size: Size, opcode: number, reg: number): readonly number[] => [
  ...prefixes(size),
  size === 1 ? opcode : opcode | 1,
  (reg << 3) | 7,
];
const locked = (size: Size, opcode: number, reg: number): readonly number[] => [0xf0, ...plain(size, opcode, reg)];
const locked0f = (size: Size, opcode: number, reg: number, ...immediate: number[]): readonly number[] => [
  0xf0,
  ...prefixes(size),
  0x0f,
  opcode,
  (reg << 3) | 7,
  ...immediate,
];
/** mov r32, value */
const load = (reg: number, value: number): readonly number[] => [0xb8 | reg, value & 0xff, (value >> 8) & 0xff, value >> 16, 0];
const STC = 0xf9;
const CMC = 0xf5;
/** adc ebp, 0: the carry flag must not be set. */
const NO_CARRY = [0x83, 0xd5, 0x00];
/** The condition's byte to eax, added to ebp. */
const not = (setcc: number): readonly number[] => [0x0f, setcc, 0xc0, 0x0f, 0xb6, 0xc0, 0x01, 0xc5];
const [SETZ, SETNZ] = [0x94, 0x95];
/** test [rdi], rcx */
const testMask = (size: Size): readonly number[] => plain(size, 0x84, CL);
/** mov rdx, rcx; not rdx */
const INVERSE = [0x48, 0x89, 0xca, 0x48, 0xf7, 0xd2];
/** rol rcx, by */
const rotate = (size: Size, by: number): readonly number[] => [...prefixes(size), size === 1 ? 0xc0 : 0xc1, 0xc1, by];
/** add edx, 2; and edx, bits - 1 */
const nextBit = (size: Size): readonly number[] => [0x83, 0xc2, 0x02, 0x83, 0xe2, 8 * size - 1];
const PAUSE = [0xf3, 0x90];
/** `attempt`, which leaves a flag that `jcc` jumps on, until it does not. */
const until = (attempt: readonly number[], jcc: number): readonly number[] => {
  // The jump back passes the first one, which has 2 bytes, PAUSE and itself.
  const back = -(attempt.length + 2 + PAUSE.length + 2);
  return [...attempt, jcc ^ 1, PAUSE.length + 2, ...PAUSE, 0xeb, back & 0xff];
};
const [JC, JNZ] = [0x72, 0x75];

const cut = (value: bigint, bits: number): bigint => BigInt.asUintN(bits, value);
const show = (value: bigint): string => value.toString(16);
function differs(name: string, got: bigint, expected: bigint): string | undefined {
  return got === expected ? undefined : `${name} is ${show(got)} instead of ${show(expected)}`;
}
const failures = (cpus: readonly Registers[]): string | undefined =>
  differs('what must not happen', cpus[0].rbp + cpus[1].rbp, 0n);

/** `perRound`: what both processors together add in a round. */
const sums = (perRound: number) => (word: bigint, _cpus: readonly Registers[], n: number, bits: number) =>
  differs('the sum', word, cut(BigInt(perRound) * BigInt(n), bits));

const sum = (name: string, opcode: number, perRound: number, carry: readonly number[] = []): Program => ({
  name,
  sizes: ALL,
  before: (_size, cpu) => load(CL, cpu ? 5 : 3),
  body: (size) => [...carry, ...locked(size, opcode, CL)],
  wrong: sums(perRound),
});

const unary = (name: string, opcode: number, reg: number, perRound: number): Program => ({
  name,
  sizes: ALL,
  body: (size) => locked(size, opcode, reg),
  wrong: sums(perRound),
});

/** Sets and clears bits that the other processor leaves alone, and looks each time. */
const ownBits = (name: string, body: (size: Size) => readonly number[], of: 'mask' | 'number', sizes = ALL): Program => ({
  name,
  sizes,
  overlaps: true,
  before: (_size, cpu) => (of === 'mask' ? load(CL, 1 << cpu) : load(DL, cpu)),
  body: (size) => [...body(size), ...(of === 'mask' ? rotate(size, 2) : nextBit(size))],
  wrong: (word, cpus) => failures(cpus) ?? differs('what is left', word, 0n),
});

/** A plain counter, 64 bytes further, that only the holder of the lock changes: inc dword [rdi + 64]. */
const COUNT = [0xff, 0x47, 0x40];
export const COUNTER = 64;

export const PROGRAMS: readonly Program[] = [
  sum('add', 0x00, 8),
  sum('sub', 0x28, -8),
  sum('adc', 0x10, 10, [STC]),
  sum('sbb', 0x18, -10, [STC]),
  // bt esi, 0: the carry flag is set every other round.
  sum('adc with and without carry', 0x10, 9, [0x0f, 0xba, 0xe6, 0x00]),
  sum('sbb with and without carry', 0x18, -9, [0x0f, 0xba, 0xe6, 0x00]),
  unary('inc', 0xfe, 0, 2),
  unary('dec', 0xfe, 1, -2),
  {
    // The signs of the results alternate: each is that of half of them.
    name: 'neg',
    sizes: ALL,
    initial: 5n,
    body: (size) => [...locked(size, 0xf6, 3), 0x0f, 0x98, 0xc0, 0x0f, 0xb6, 0xc0, 0x49, 0x01, 0xc0], // sets al; add r8, rax
    wrong: (word, [a, b], n) => differs('negative results', a.r8 + b.r8, BigInt(n)) ?? differs('the word', word, 5n),
  },
  {
    name: 'not, beside xor of one bit after the other',
    sizes: ALL,
    before: () => load(CL, 1),
    body: (size, cpu) => (cpu ? [...locked(size, 0x30, CL), ...rotate(size, 1)] : locked(size, 0xf6, 2)),
    wrong: (word, _cpus, n, bits) => {
      let expected = n & 1 ? cut(-1n, bits) : 0n;
      for (let bit = 0; bit < bits; bit++) if (Math.ceil((n - bit) / bits) & 1) expected ^= 1n << BigInt(bit);
      return differs('the word', word, expected);
    },
  },
  ownBits(
    'or and and',
    (size) => [
      ...[...locked(size, 0x08, CL), ...testMask(size), ...not(SETZ)],
      ...[...INVERSE, ...locked(size, 0x20, DL), ...testMask(size), ...not(SETNZ)],
    ],
    'mask',
  ),
  ownBits(
    'xor',
    (size) => [
      ...[...locked(size, 0x30, CL), ...testMask(size), ...not(SETZ)],
      ...[...locked(size, 0x30, CL), ...testMask(size), ...not(SETNZ)],
    ],
    'mask',
  ),
  ownBits(
    'bts and btr',
    (size) => [...locked0f(size, 0xab, DL), ...NO_CARRY, ...locked0f(size, 0xb3, DL), CMC, ...NO_CARRY],
    'number',
    WIDE,
  ),
  ownBits(
    'btc',
    (size) => [...locked0f(size, 0xbb, DL), ...NO_CARRY, ...locked0f(size, 0xbb, DL), CMC, ...NO_CARRY],
    'number',
    WIDE,
  ),
  {
    name: 'bts, btc and btr of an immediate',
    sizes: WIDE,
    body: (size, cpu) => [
      ...[...locked0f(size, 0xba, 5, cpu), ...NO_CARRY, ...locked0f(size, 0xba, 7, cpu), CMC, ...NO_CARRY],
      ...[...locked0f(size, 0xba, 7, cpu), ...NO_CARRY, ...locked0f(size, 0xba, 6, cpu), CMC, ...NO_CARRY],
    ],
    wrong: (word, cpus) => failures(cpus) ?? differs('what is left', word, 0n),
  },
  {
    name: 'xadd',
    sizes: ALL,
    body: (size) => [...load(CL, 1), ...locked0f(size, size === 1 ? 0xc0 : 0xc1, CL), 0x49, 0x01, 0xc8], // add r8, rcx
    wrong: (word, [a, b], n, bits) => {
      const all = BigInt(2 * n);
      return (
        differs('the sum', word, cut(all, bits)) ??
        differs('the sum of what was there', cut(a.r8 + b.r8, bits), cut((all * (all - 1n)) / 2n, bits))
      );
    },
  },
  {
    // Three tokens: whatever goes where, none is lost and none doubled.
    name: 'xchg',
    sizes: ALL,
    initial: 1n,
    before: (_size, cpu) => load(CL, cpu ? 4 : 2),
    body: (size) => plain(size, 0x86, CL),
    wrong: (word, cpus) => {
      const tokens = [word, ...cpus.map(({ rcx }) => rcx)].sort().join(' ');
      return tokens === '1 2 4' ? undefined : `the tokens are ${tokens}`;
    },
  },
  {
    name: 'cmpxchg',
    sizes: ALL,
    body: (size) => [
      ...plain(size, 0x8a, 0), // mov rax, [rdi]
      ...until([0x48, 0x8d, 0x48, 0x01, ...locked0f(size, size === 1 ? 0xb0 : 0xb1, CL)], JNZ), // lea rcx, [rax + 1]
    ],
    wrong: sums(2),
  },
  {
    // As allocators do with a list and its generation: one half counts by 1, the other by 3, and nobody sees them apart.
    name: 'cmpxchg of a pair',
    sizes: [8, 16],
    body: (size) => {
      const wide = size === 16 ? [0x48] : [];
      const attempt = [
        ...[...wide, 0x8d, 0x58, 0x01, ...wide, 0x8d, 0x4a, 0x03], // lea rbx, [rax + 1]; lea rcx, [rdx + 3]
        ...locked0f(size === 16 ? 16 : 4, 0xc7, 1),
      ];
      const half = size / 2;
      // lea r9, [rax + 2 rax]; cmp r9, rdx
      const consistent = [size === 16 ? 0x4c : 0x44, 0x8d, 0x0c, 0x40, size === 16 ? 0x49 : 0x41, 0x39, 0xd1];
      // setne r9b; movzx r9d, r9b; add ebp, r9d
      const count = [0x41, 0x0f, 0x95, 0xc1, 0x45, 0x0f, 0xb6, 0xc9, 0x44, 0x01, 0xcd];
      const retry = [...consistent, ...count, ...PAUSE];
      const back = -(attempt.length + 2 + retry.length + 2);
      return [
        ...[...wide, 0x8b, 0x07, ...wide, 0x8b, 0x57, half], // mov rax, [rdi]; mov rdx, [rdi + half]
        ...[...attempt, 0x74, retry.length + 2, ...retry, 0xeb, back & 0xff],
      ];
    },
    wrong: (word, cpus, n, bits) => {
      const half = BigInt(bits / 2);
      return failures(cpus) ?? differs('the pair', word, BigInt(2 * n) | (BigInt(6 * n) << half));
    },
  },
  {
    name: 'bts and btr as a lock',
    sizes: [4],
    body: (size) => [...until(locked0f(size, 0xba, 5, 0), JC), ...COUNT, ...locked0f(size, 0xba, 6, 0), CMC, ...NO_CARRY],
    wrong: (word, cpus) => failures(cpus) ?? differs('the lock', word, 0n),
  },
  {
    name: 'xchg as a lock',
    sizes: [4],
    body: (size) => [
      ...until([...load(BL, 1), ...plain(size, 0x86, BL), 0x84, 0xdb], JNZ), // test bl, bl
      ...[...COUNT, ...load(BL, 0), ...plain(size, 0x86, BL), 0x80, 0xf3, 0x01, 0x01, 0xdd], // xor bl, 1; add ebp, ebx
    ],
    wrong: (word, cpus) => failures(cpus) ?? differs('the lock', word, 0n),
  },
];
export const LOCKS: ReadonlySet<string> = new Set(['bts and btr as a lock', 'xchg as a lock']);

/** The whole of it: the registers, `n` rounds, HLT. */
export function codeOf({ before, body }: Program, size: Size, cpu: number, address: number, n: number): Uint8Array {
  const round = body(size, cpu);
  const dword = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
  return Uint8Array.from([
    ...[0xbf, ...dword(address), 0xbe, ...dword(n), 0x31, 0xed, 0x45, 0x31, 0xc0], // xor ebp, ebp; xor r8d, r8d
    ...(before?.(size, cpu) ?? []),
    ...round,
    ...[0xff, 0xce, 0x0f, 0x85, ...dword(-(round.length + 8))], // dec esi; jnz
    0xf4,
  ]);
}
