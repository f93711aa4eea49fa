import type { FuncRef, FunctionBuilder, I32, I64, Label, Local } from '@tsvisor/wasm-codegen';
import type { Env } from './env.ts';
import { loadState, loadState64, not, test32, test64 } from './env.ts';
import type { EntryBytes, EntryFunctions } from './paging-entry.ts';
import { Pte } from './paging-entry.ts';
import type { PermissionFunctions } from './permissions.ts';
import { Access, MmuFlag, PageFault } from './state.ts';
import { TlbFlag } from './tlb.ts';

/** (linear address, access, 1 to set A and D bits) → 0 with `Env.gpa` and `Env.entryFlags` set, or -1 with the error code set. */
export type WalkFunction = FuncRef<[I64, I32, I32], I32>;

/** One paging-structure entry on the way: where it is and what it held. An entry that the walk skips needs no marking. */
type Visited = { readonly gpa: Local<I64>; readonly value: Local<I64> };

export type WalkParts = { readonly env: Env; readonly entries: EntryFunctions; readonly permissions: PermissionFunctions };

/**
 * The part that the three kinds of walk share: reading entries, collecting their rights, and the epilogue that checks permissions,
 * sets A and D bits and leaves the translation. A walk says only how its tables are laid out.
 */
export class WalkBuilder {
  readonly f: FunctionBuilder;
  readonly env: Env;
  readonly va: Local<I64>;
  readonly access: Local<I32>;
  /** The entry read last. */
  readonly entry: Local<I64>;
  /** Base of the table to read next. */
  readonly table: Local<I64>;
  /** Bits that are reserved in every entry of this walk. */
  readonly reserved: Local<I64>;
  /** Page frame of the leaf, before the offset within the page is added. */
  readonly frame: Local<I64>;
  /** Size of the page as a power of two. */
  readonly pageShift: Local<I32>;
  readonly #parts: WalkParts;
  readonly #bytes: EntryBytes;
  readonly #commit: Local<I32>;
  /** AND of all entries (P, R/W, U/S, A count), OR of all entries (XD counts). */
  readonly #all: Local<I64>;
  readonly #any: Local<I64>;
  readonly #visited: readonly Visited[];
  /** Where `entry` was read. */
  readonly #entryGpa: Local<I64>;

  /** @param levels how many entries a walk may visit */
  constructor(parts: WalkParts, name: string, bytes: EntryBytes, levels: number) {
    const f = parts.env.module.function(name, ['i64', 'i32', 'i32'], ['i32']);
    this.f = f;
    this.env = parts.env;
    this.#parts = parts;
    this.#bytes = bytes;
    this.va = f.param(0, 'i64');
    this.access = f.param(1, 'i32');
    this.#commit = f.param(2, 'i32');
    this.entry = f.local('i64');
    this.table = f.local('i64');
    this.reserved = f.local('i64');
    this.frame = f.local('i64');
    this.#all = f.local('i64');
    this.#any = f.local('i64');
    this.#entryGpa = f.local('i64');
    this.#visited = Array.from({ length: levels }, () => ({ gpa: f.local('i64'), value: f.local('i64') }));
    this.pageShift = f.local('i32');
  }

  /** The index into a table of 2^`bits` entries, as a byte offset. */
  #indexBytes(shift: number, bits: number): I64 {
    const { f } = this;
    const scale = this.#bytes === 8 ? 3 : 2;
    return f.i64.and(f.i64.shr_u(f.get(this.va), f.i64.const(shift - scale)), f.i64.const(((1 << bits) - 1) << scale));
  }

  /**
   * Reads entry number `level` of this walk, for address bits `shift` and up, from `table`; leaves the walk with a fault when it is
   * not present or has a reserved bit set. `reservedHere`, when given, pushes what else is reserved in this entry.
   */
  step(level: number, shift: number, bits: number, reservedHere?: () => I64): void {
    const { f } = this;
    const visited = this.#visited[level];
    f.set(this.#entryGpa, f.tee(visited.gpa, f.i64.add(f.get(this.table), this.#indexBytes(shift, bits))));
    const read = this.#parts.entries.readEntry[this.#bytes];
    f.set(this.entry, f.tee(visited.value, f.call(read, f.get(this.#entryGpa))));
    f.if(not(f, test64(f, f.get(this.entry), Pte.P)), () => this.fault(0));
    let reserved = f.get(this.reserved);
    if (reservedHere) reserved = f.i64.or(reserved, reservedHere());
    f.if(not(f, f.i64.eqz(f.i64.and(reserved, f.get(this.entry)))), () => this.fault(PageFault.P | PageFault.RSVD));
    f.set(this.#all, f.i64.and(f.get(this.#all), f.get(this.entry)));
    f.set(this.#any, f.i64.or(f.get(this.#any), f.get(this.entry)));
  }

  /** Returns from the walk with a page fault. */
  fault(bits: number): void {
    const { f } = this;
    f.return(f.call(this.#parts.permissions.fault, f.i32.const(bits), f.get(this.access)));
  }

  /** The page is found: `entry` is its leaf. */
  leaf(shift: number, frame: () => I64): void {
    const { f } = this;
    f.set(this.pageShift, f.i32.const(shift));
    f.set(this.frame, frame());
  }

  /** Runs `body`, which emits the steps and branches to its label once it found a leaf; then the epilogue, which ends the function. */
  finish(body: (found: Label) => void): WalkFunction {
    const { f } = this;
    f.loop((again) => {
      this.#begin();
      f.block(body);
      this.#checkPermissions();
      f.if(f.get(this.#commit), () => this.#markVisited(again));
    });
    this.#publish();
    f.i32.const(0);
    return f.ref<[I64, I32, I32], I32>();
  }

  #begin(): void {
    const { f } = this;
    f.set(this.#all, f.i64.halves(-1, -1));
    f.set(this.#any, f.i64.const(0));
    // A level that the walk does not reach must look as if it needed no marking.
    for (const { value } of this.#visited) f.set(value, f.i64.const(Pte.A | Pte.D));
  }

  #checkPermissions(): void {
    const { f } = this;
    const error = f.local('i32');
    const { permit, fault } = this.#parts.permissions;
    const rights = f.i32.or(
      test64(f, f.get(this.#all), Pte.RW | Pte.US),
      f.i32.wrap_i64(f.i64.shr_u(f.get(this.#any), f.i64.const(Pte.XD_BIT))),
    );
    const key = test32(f, f.i32.wrap_i64(f.i64.shr_u(f.get(this.entry), f.i64.const(Pte.PKEY_SHIFT))), 15);
    f.if(f.tee(error, f.call(permit, rights, key, f.get(this.access))), () =>
      f.return(f.call(fault, f.get(error), f.get(this.access))),
    );
  }

  /** Sets A in every entry used, and D in the leaf of a write (SDM vol. 3 §4.8), once the access is known to be permitted. */
  #markVisited(again: Label): void {
    const { f } = this;
    const dirty = f.local('i64');
    const mark = this.#parts.entries.markEntry[this.#bytes];
    f.set(dirty, f.select(f.i64.const(Pte.D), f.i64.const(0), test32(f, f.get(this.access), Access.write)));
    const accessedMissing = not(f, test64(f, f.get(this.#all), Pte.A));
    const dirtyMissing = f.i64.ne(f.i64.and(f.get(this.entry), f.get(dirty)), f.get(dirty));
    f.if(f.i32.or(accessedMissing, dirtyMissing), () => {
      for (const { gpa, value } of this.#visited) {
        const dirtyHere = (): I64 => f.select(f.get(dirty), f.i64.const(0), f.i64.eq(f.get(gpa), f.get(this.#entryGpa)));
        const unchanged = f.call(mark, f.get(gpa), f.get(value), f.i64.or(f.i64.const(Pte.A), dirtyHere()));
        f.brIf(again, not(f, unchanged));
      }
    });
  }

  #publish(): void {
    const { f, env } = this;
    const offsetMask = f.i64.sub(f.i64.shl(f.i64.const(1), f.i64.extend_i32_u(f.get(this.pageShift))), f.i64.const(1));
    const gpa = f.i64.add(f.i64.and(f.get(this.va), offsetMask), f.get(this.frame));
    f.globalSet(env.gpa, f.i64.and(gpa, loadState64(env, f, 'a20Mask')));
    const global = f.select(
      f.i32.const(TlbFlag.GLOBAL),
      f.i32.const(0),
      f.ifOf(
        'i32',
        test32(f, loadState(env, f, 'flags'), MmuFlag.PGE),
        () => test64(f, f.get(this.entry), Pte.G),
        () => f.i32.const(0),
      ),
    );
    const large = f.select(
      f.i32.or(f.i32.const(TlbFlag.LARGE), f.i32.shl(f.get(this.pageShift), f.i32.const(TlbFlag.PAGE_SHIFT))),
      f.i32.const(0),
      f.i32.gt_u(f.get(this.pageShift), f.i32.const(12)),
    );
    f.globalSet(env.entryFlags, f.i32.or(global, large));
  }
}
