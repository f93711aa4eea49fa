/** Where things are in the machines that compare the tiers: guest-physical, and identity-mapped. */
export const Place = {
  gdt: 0x1000,
  idt: 0x2000,
  tss: 0x3000,
  pml4: 0x4000,
  pdpt: 0x5000,
  pd: 0x6000,
  pt: 0x7000,
  /** Stubs of 16 bytes for every vector, then the common handler; read-only. */
  handlers: 0x8000,
  common: 0x9800,
  /** What the handler writes down. */
  log: 0xa000,
  eventStack: 0xc000,
  /** Two pages, then one that is not mapped. */
  data: 0x1_0000,
  readOnly: 0x1_3000,
  /** One page between two that are not mapped. */
  stack: 0x1_5000,
  /** Page tables that exchange the two pages of data; not mapped. */
  otherPml4: 0x1_7000,
  otherPdpt: 0x1_8000,
  otherPd: 0x1_9000,
  otherPt: 0x1_a000,
  /** Two pages of program, then one that is not mapped. */
  code: 0x2_0000,
  /** A page of a device. */
  device: 0x3_0000,
  ram: 0x4_0000,
} as const;

export const PAGE = 0x1000;
export const DATA_BYTES = 2 * PAGE;
export const CODE_BYTES = 2 * PAGE;
/** RSP, RBP and R13 at the start and after every fault, of most programs. */
export const STACK_TOP = Place.stack + 0xc00;
export const FRAME = Place.data + 0x800;
export const FRAME_2 = Place.data + 0x1400;
/** Jump table of the program: 8 code addresses. */
export const TABLE = Place.readOnly + 0x100;
/** Counters of loops: 8 words. */
export const COUNTERS = Place.data + 0x40;
/** Interrupts from here on come back to where they happened; what comes before is a fault and goes on elsewhere. */
export const FIRST_INTERRUPT = 0x20;
export const INTERRUPT = 0x40;
export const SOFTWARE_INTERRUPT = 0x80;

/**
 * The log: a count, at `pointers` what goes into RSP, RBP and R13 after a fault, at `resume` 16 addresses where to go on then, and an entry
 * of 64 bytes for each event.
 */
export const Log = { pointers: 0x10, resume: 0x40, entries: 0x100, most: 20 } as const;

export const Selector = {
  code64: 0x08,
  data: 0x10,
  userData: 0x1b,
  userCode64: 0x23,
  tss: 0x28,
  code32: 0x38,
  userCode32: 0x43,
} as const;
