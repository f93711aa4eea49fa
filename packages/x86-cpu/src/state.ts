import { array, defineLayout } from '@tsvisor/state-layout';

/** Numbers of the general registers, as instructions encode them (SDM vol. 2, table 3-1). */
export const Reg = { RAX: 0, RCX: 1, RDX: 2, RBX: 3, RSP: 4, RBP: 5, RSI: 6, RDI: 7, R8: 8, R11: 11 } as const;

/** Numbers of the segment registers, as instructions encode them; LDTR and TR follow. */
export const Seg = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, LDTR: 6, TR: 7 } as const;

/** RFLAGS bits (SDM vol. 1 §3.4.3). */
export const Rflags = {
  CF: 1 << 0,
  FIXED: 1 << 1,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  VIF: 1 << 19,
  VIP: 1 << 20,
  ID: 1 << 21,
} as const;

/** The status flags, which the engine keeps lazily; every other bit of RFLAGS is in `CPU.rflags`. */
export const STATUS_FLAGS = Rflags.CF | Rflags.PF | Rflags.AF | Rflags.ZF | Rflags.SF | Rflags.OF;

/** `CPU.interruptShadow`. */
export const Shadow = {
  NONE: 0,
  /** STI: interrupts wait for one instruction. */
  STI: 1,
  /** MOV SS, POP SS, LSS: debug traps too. */
  STACK: 2,
} as const;

/** Why data accesses are looked at one by one (`CPU.watch`); meanwhile the TLB that generated code probes is an empty one. */
export const Watch = {
  /** Data breakpoints are enabled. */
  Breakpoints: 1,
  /** Alignment checking is in force: CR0.AM, RFLAGS.AC and CPL 3. */
  Alignment: 2,
} as const;

/** Values of `CPU.exitRequest`, beside 0. */
export const ExitRequest = {
  /** The run loop is to look around. */
  LOOK: -1,
  /** Another processor waits to be alone, and nothing else is wanted: generated code may see to that itself. Never stored over another request. */
  STAND_ASIDE: -2,
} as const;

/** Why generated code returned to the run loop (`CPU.exitReason`). */
export const Exit = {
  /** The instruction budget is used up, or `exitRequest` was set. State is at an instruction boundary. */
  Budget: 0,
  /** An instruction raised an exception: `faultVector`, `faultError`, `faultHasError`; RIP is the faulting instruction's. */
  Fault: 1,
  /** A TypeScript helper changed the context (mode, privilege, CS:RIP): resume at `CPU.rip`. */
  Resync: 2,
  /** The instruction at `exitRecord` is one the engine has no semantics for: stop rather than run it wrongly. */
  Refused: 3,
} as const;

/** Log 2 of the bits in `CPU.codeFilter`. */
export const CODE_FILTER_BITS = 12;

/** Reading state out of lazily kept flags is described at `emit/flags.ts`. */
export const CPU = defineLayout('x86-cpu', {
  /** RAX…R15. Each slot's address is an operand in interpreter records. */
  gpr: array('u64', 16),
  /** Always 0: what an absent base or index register reads. */
  zero: 'u64',
  /** Always 8192: lets a RIP-relative displacement that left 32 bits when rebased to the page be split in two. */
  twoPages: 'u64',
  /** RIP of the first byte of the current code page; records hold offsets from it, so translations are position-independent. */
  pageRip: 'u64',
  rip: 'u64',
  flagResult: 'u64',
  flagCarry: 'u64',
  flagAux: 'u64',
  /** Instructions retired, exact whenever generated code is not running. */
  instructions: 'f64',
  segBase: array('u64', 8),
  /** Inclusive last valid offset, after granularity; see `segLow` for expand-down segments. */
  segLimit: array('u32', 8),
  /** First valid offset: 0, or limit + 1 of an expand-down segment, whose `segLimit` is then its upper bound. */
  segLow: array('u32', 8),
  /** Access rights as in descriptor bits 40–55 (type, S, DPL, P, AVL, L, D/B, G); 0 when null or unusable. */
  segAttr: array('u32', 8),
  segSel: array('u16', 8),
  /** RFLAGS without the status flags. */
  rflags: 'u32',
  /** SP mask of the current stack segment: 0xffff, 0xffffffff, or all ones in 64-bit mode. */
  stackMask: 'u64',
  cr0: 'u64',
  cr2: 'u64',
  cr3: 'u64',
  cr4: 'u64',
  efer: 'u64',
  xcr0: 'u64',
  dr: array('u64', 8),
  gdtrBase: 'u64',
  idtrBase: 'u64',
  gdtrLimit: 'u32',
  idtrLimit: 'u32',
  star: 'u64',
  lstar: 'u64',
  cstar: 'u64',
  sfmask: 'u64',
  kernelGsBase: 'u64',
  sysenterCs: 'u64',
  sysenterEsp: 'u64',
  sysenterEip: 'u64',
  tscAux: 'u64',
  pat: 'u64',
  miscEnable: 'u64',
  apicBase: 'u64',
  mtrrDefType: 'u64',
  mtrrPhys: array('u64', 16),
  mtrrFixed: array('u64', 11),
  cpl: 'u32',
  /** What a translation depends on besides its bytes; see `records/mode-key.ts`. */
  modeKey: 'u32',
  /** SYSCALL and SYSRET between 64-bit code at CPL 3 and 0 need nothing worked out: the keys and tag numbers below are ready. */
  fastCalls: 'u32',
  /** The same for events and IRET: 64-bit code at CPL 3 or 0, without SMAP. */
  fastEvents: 'u32',
  /** The same, and SYSENTER, SYSEXIT and segment loads, for 32-bit code in flat segments in protected mode outside IA-32e mode. */
  fastFlat32: 'u32',
  userKey: 'u32',
  kernelKey: 'u32',
  /** Jump-cache tags under those keys: generation · 2^12 + low bits of the mode key's interned number. Each has its own generation. */
  userTag: 'u32',
  kernelTag: 'u32',
  /** Code ran at CPL 0 in a page that is not global, since `kernelTag` changed. */
  kernelLocal: 'u32',
  /** Tag of jump-cache entries that are valid now: one of the two, or for any other key the like of it. */
  jumpTag: 'u32',
  /** Negative: generated code returns at the next block boundary (`ExitRequest`). Written by anyone, from any thread. */
  exitRequest: 'i32',
  /** Non-zero: whoever set `exitRequest` wants `run` to return. */
  kicked: 'i32',
  /** How many more PAUSE may run before `run` returns: a processor that spins waits for another one. */
  pauses: 'i32',
  /** Non-zero: all other processors stand still, for the instruction that runs. */
  exclusive: 'u32',
  /** Times that was so, modulo 2^32. */
  exclusives: 'u32',
  /** `ExclusiveWords` (ports.ts): addresses, and what to store and how often to look; `exclusiveWord` is 0 where there are none. */
  exclusiveWord: 'u32',
  exclusiveId: 'u32',
  headWord: 'u32',
  stateWord: 'u32',
  stateWords: 'u32',
  stateWordsEnd: 'u32',
  stateBytes: 'u32',
  looks: 'u32',
  exitReason: 'u32',
  exitRecord: 'u32',
  /** Budget left at the last exit. */
  budget: 'i32',
  /** Non-zero: a helper raised a fault that its caller must propagate. */
  faulted: 'u32',
  /** With `faulted`: nothing is wrong, but the instruction must be run by the interpreter. */
  restart: 'i32',
  faultVector: 'u32',
  faultError: 'u32',
  faultHasError: 'u32',
  /** Faults that generated code delivered by itself, modulo 2^32. */
  deliveries: 'u32',
  /** -1 while an interrupt waits for IF: whatever sets IF copies it to `exitRequest`. */
  interruptPending: 'i32',
  /** Interrupts are held off at `shadowRip`, the instruction after MOV SS or STI (SDM vol. 3 §6.8.3): `Shadow`. */
  interruptShadow: 'u32',
  shadowRip: 'u64',
  nmiBlocked: 'u32',
  /** System-management mode: system/smm.ts. */
  smm: 'u32',
  smbase: 'u32',
  /** `Watch` bits: every data access has to come to the slow path. */
  watch: 'u32',
  halted: 'u32',
  /** Addresses of the TLB arrays of the current privilege. */
  tlbRead: 'u32',
  tlbWrite: 'u32',
  tlbFetch: 'u32',
  /** Access bits that go with them in calls to the MMU (user, SMAP). */
  mmuAccess: 'u32',
  mxcsr: 'u32',
  /** Rights of protection keys; the MMU has a copy. */
  pkru: 'u32',
  fcw: 'u32',
  /** Status word without TOP. */
  fsw: 'u32',
  ftop: 'u32',
  /** One bit per physical register: 1 = empty (SDM vol. 1 §8.1.7, abridged as FXSAVE has it, inverted). */
  fempty: 'u32',
  fop: 'u32',
  fip: 'u64',
  fdp: 'u64',
  fcs: 'u32',
  fds: 'u32',
  /** Physical x87 registers, 16 bytes each: significand, then sign and exponent; MMX registers alias the significands. */
  fpr: array('u64', 16),
  /** 16 registers × 16 bytes. */
  xmm: array('u64', 32),
  /** Upper halves of YMM0–15. */
  ymmHigh: array('u64', 32),
  /** A vector being put together element by element, before its register is written. */
  vector: array('u64', 2),
  /** Bounce buffer of accesses that cross a page or reach a device. */
  scratch: array('u64', 8),
  /** Linear address and size of the access that `scratch` stands for. */
  scratchVa: 'u64',
  scratchSize: 'u32',
  /** Where helpers return a second value. */
  helper: array('u64', 4),
  /** A bit, by hash, for each page that the jump cache may lead to: core/mappings.ts. */
  codeFilter: array('u64', 64),
  /** Instructions that compiled regions took off the budget, for statistics. */
  compiled: 'u64',
});

/**
 * Jump cache: direct-mapped by linear address; entries of 16 bytes {i64 linear address, u32 record, u32 tag}. From `handlers` on a u16 for each: which
 * handler its record had when it was last asked for by compiled code.
 */
export const JUMP_CACHE = { entries: 4096, entryBytes: 16, handlers: 4096 * 16, bytes: 4096 * (16 + 2) } as const;
/** Block table: open addressing by host address and mode; entries of 16 bytes {u32 host address, u32 mode key, u32 record, u32 0}. */
export const BLOCK_TABLE = { entries: 1 << 18, entryBytes: 16 } as const;

/**
 * An entry for each region: {i64 RIP of the base, u32 tag of the jump cache}, under which its pages were found in place, and where that is:
 * {u32 host address} of each, the base's first.
 */
export const REGION_TABLE = { entries: 0x2000, entryBytes: 64, rip: 0, tag: 8, pages: 16, maxPages: 12 } as const;

/** An interpreter record: 32 bytes. Offsets of its fields; `emit/interpreter.ts` says which form uses which. */
export const Record = {
  size: 32,
  /** u16: case or table slot. */
  handler: 0,
  /** u16: offset of the instruction in its page (bits 0–11) and its length (bits 12–15). */
  place: 2,
  /** u32: address of the first register operand; in branches the block's instruction count is not here but in its header. */
  a: 4,
  /** u32: address of the second register operand; with a memory operand: byte 8 scale, 9 address shift, 10 segment, 11 scale of a gather. */
  b: 8,
  scale: 8,
  shift: 9,
  segment: 10,
  /** u8 */
  vectorScale: 11,
  /** u32: address of the base register; without a memory operand the third register operand. */
  base: 12,
  index: 16,
  /** i32 */
  disp: 20,
  /** i64 immediate; or two u32: branch target and fall-through records; or extra register operands. */
  imm: 24,
  imm2: 28,
} as const;
