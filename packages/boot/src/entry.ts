import { Writer } from './bytes.ts';
import { GDT_GPA, PAGE_TABLES_GPA, TSS_GPA } from './layout.ts';

/**
 * A segment register with its hidden part. `attributes` are the descriptor's access bits: 0–3 type, 4 S, 5–6 DPL, 7 P, 12 AVL,
 * 13 L, 14 D/B, 15 G (SDM vol. 3 §25.4.1, "Format of Access Rights"). `limit` in bytes, already scaled by G.
 */
export type SegmentState = {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  readonly attributes: number;
};

/**
 * The state of the first virtual CPU when it fetches the kernel's first instruction. What is not named keeps its value after
 * RESET (SDM vol. 3 §10.1.1). Interrupts are off; addresses are physical and, under the identity map, linear.
 */
export type EntryState = {
  readonly mode: 'long64' | 'protected32';
  readonly rip: number;
  readonly rax: number;
  readonly rsi: number;
  readonly rbx: number;
  readonly rflags: number;
  readonly cr0: number;
  /** Page map level 4 in long mode, else 0. */
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
  readonly gdt: { readonly base: number; readonly limit: number };
  readonly idt: { readonly base: number; readonly limit: number };
  readonly cs: SegmentState;
  /** DS, ES, FS, GS and SS alike. */
  readonly data: SegmentState;
  readonly tr: SegmentState;
  /** Unusable (attributes 0). */
  readonly ldtr: SegmentState;
};

const CR0_PE = 1 << 0;
const CR0_ET = 1 << 4;
const CR0_PG = 0x8000_0000;
const CR4_PAE = 1 << 5;
const EFER_LME = 1 << 8;
const EFER_LMA = 1 << 10;
/** RFLAGS: only the bit that is always 1. */
const RFLAGS_FIXED = 1 << 1;

// boot.rst, "64-bit Boot Protocol": __BOOT_CS(0x10), __BOOT_DS(0x18), flat 4G segments.
const BOOT_CS = 0x10;
const BOOT_DS = 0x18;
const BOOT_TSS = 0x20;

/** P, S, type 0xb: execute/read, accessed; G; L or D by mode. */
const CODE64 = 0xa09b;
const CODE32 = 0xc09b;
/** P, S, type 3: read/write, accessed; G, B. */
const DATA = 0xc093;
/** P, busy 32-bit (or, in long mode, 64-bit) TSS. */
const TSS_BUSY = 0x008b;
const TSS_LIMIT = 0x67;
const FLAT = 0xffff_ffff;

type Blob = { readonly gpa: number; readonly bytes: Uint8Array };

/** Long mode with paging on, as startup_64 expects it, and the tables that needs. */
export function longModeEntry(rip: number, rsi: number): { entry: EntryState; segments: Blob[] } {
  return {
    entry: {
      ...common(rip),
      mode: 'long64',
      rsi,
      cr0: (CR0_PG | CR0_ET | CR0_PE) >>> 0,
      cr3: PAGE_TABLES_GPA,
      cr4: CR4_PAE,
      efer: EFER_LME | EFER_LMA,
      cs: { selector: BOOT_CS, base: 0, limit: FLAT, attributes: CODE64 },
    },
    segments: [gdt(CODE64), { gpa: PAGE_TABLES_GPA, bytes: identityPageTables() }],
  };
}

/** 32-bit protected mode without paging. boot.rst, "32-bit Boot Protocol": ESI; xen pvh.pandoc: EBX; Multiboot §3.2: EAX and EBX. */
export function protectedModeEntry(
  rip: number,
  registers: { rsi?: number; rax?: number; rbx?: number },
): { entry: EntryState; segments: Blob[] } {
  return {
    entry: {
      ...common(rip),
      ...registers,
      mode: 'protected32',
      cr0: CR0_ET | CR0_PE,
      cr3: 0,
      cr4: 0,
      efer: 0,
      cs: { selector: BOOT_CS, base: 0, limit: FLAT, attributes: CODE32 },
    },
    segments: [gdt(CODE32)],
  };
}

function common(rip: number) {
  return {
    rip,
    rax: 0,
    rsi: 0,
    rbx: 0,
    rflags: RFLAGS_FIXED,
    gdt: { base: GDT_GPA, limit: 6 * 8 - 1 },
    idt: { base: 0, limit: 0 },
    data: { selector: BOOT_DS, base: 0, limit: FLAT, attributes: DATA },
    tr: { selector: BOOT_TSS, base: TSS_GPA, limit: TSS_LIMIT, attributes: TSS_BUSY },
    ldtr: { selector: 0, base: 0, limit: 0, attributes: 0 },
  };
}

/** Null, null, code at 0x10, data at 0x18, and a TSS descriptor at 0x20 that is 16 bytes long in long mode. */
function gdt(code: number): Blob {
  const table = new Writer(6 * 8);
  descriptor(table, BOOT_CS, 0, 0xf_ffff, code);
  descriptor(table, BOOT_DS, 0, 0xf_ffff, DATA);
  descriptor(table, BOOT_TSS, TSS_GPA, TSS_LIMIT, TSS_BUSY);
  return { gpa: GDT_GPA, bytes: table.bytes };
}

/** SDM vol. 3 §3.4.5, figure 3-8. `limit` as the 20-bit field. */
function descriptor(table: Writer, at: number, base: number, limit: number, attributes: number): void {
  table.u32(at, ((base & 0xffff) << 16) | (limit & 0xffff));
  table.u32(at + 4, (base & 0xff00_0000) | (attributes << 8) | (limit & 0xf_0000) | ((base >>> 16) & 0xff));
}

/** Identity map of the first 4 GiB in 2 MiB pages: present, writable (SDM vol. 3 §4.5). */
function identityPageTables(): Uint8Array {
  const TABLE = 0x3;
  const LARGE_PAGE = 0x83;
  const tables = new Writer(6 * 0x1000);
  tables.u64(0, (PAGE_TABLES_GPA + 0x1000) | TABLE);
  for (let gib = 0; gib < 4; gib++) {
    const directory = 0x2000 + gib * 0x1000;
    tables.u64(0x1000 + gib * 8, (PAGE_TABLES_GPA + directory) | TABLE);
    for (let i = 0; i < 512; i++) tables.u64(directory + i * 8, (gib * 512 + i) * 0x20_0000 + LARGE_PAGE);
  }
  return tables.bytes;
}
