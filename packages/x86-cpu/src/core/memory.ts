/** Memory accesses that missed the TLB: faults, page crossings, devices, pages that hold translated code. */
import type { FuncRef, FunctionBuilder, I32, I64, Local, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { tlbIndex } from '../emit/emitter.ts';
import { ModeKey } from '../records/mode-key.ts';
import { CPU, Exit, Record, Seg, Watch } from '../state.ts';
import type { DoorbellFunctions } from './doorbells.ts';
import type { CoreImports } from './imports.ts';

// biome-ignore format: table
export const Vector = {
  DE: 0, DB: 1, NMI: 2, BP: 3, OF: 4, BR: 5, UD: 6, NM: 7, DF: 8, TS: 10, NP: 11, SS: 12, GP: 13, PF: 14, MF: 16, AC: 17, MC: 18, XM: 19,
} as const;

/** `kind` of the MMU for a permitted access that is not plain memory. */
const Kind = { unbacked: 1, readOnly: 2, code: 3, dirtyLog: 4 } as const;

const ACCESS_WRITE = 1;
/** What the tag of a device's page in the TLB differs in from the page's address (ports.ts, `Mmu`). */
const TLB_DEVICE_TAG = 0x2800;
const PAGE = 4096;

export type MemoryHelpers = {
  readonly raise: FuncRef<[I32, I32], void>;
  readonly canonical: FuncRef<[I64], I32>;
  readonly walk: FuncRef<[I64, I32], I32>;
  readonly translate: FuncRef<[I64, I32], I32>;
  readonly loadSlow: FuncRef<[I64, I32], I64>;
  readonly storeSlow: FuncRef<[I64, I64, I32], I32>;
  readonly reference: FuncRef<[I64, I32, I32], I32>;
  /**
   * As `storeSlow` and `reference`, for compiled regions: with `restart` set where translated code would change. `referenceSafe` with 2
   * instead of 1 (to write) reads, and sets `restart` where a device would be read.
   */
  readonly storeSafe: FuncRef<[I64, I64, I32], I32>;
  readonly referenceSafe: FuncRef<[I64, I32, I32], I32>;
  readonly commit: FuncRef<[], void>;
  readonly plainHost: FuncRef<[I64, I32], I32>;
  readonly segmentAddress: FuncRef<[I64, I32, I32], I64>;
  readonly segmentOffset: FuncRef<[I64, I32, I32], I64>;
};

class Builder {
  readonly module: ModuleBuilder;
  readonly io: CoreImports;
  readonly #ring: DoorbellFunctions['ringMemory'];
  leaves!: FunctionBuilder;
  constructor(module: ModuleBuilder, io: CoreImports, ring: DoorbellFunctions['ringMemory']) {
    this.module = module;
    this.io = io;
    this.#ring = ring;
  }

  cpu(f: FunctionBuilder): I32 {
    return f.globalGet(this.io.cpu);
  }
  get32(f: FunctionBuilder, offset: number): I32 {
    return f.i32.load(this.cpu(f), offset);
  }
  set32(f: FunctionBuilder, offset: number, value: () => I32): void {
    f.i32.store(this.cpu(f), value(), offset);
  }
  /** 1 in 64-bit code. */
  mode64(f: FunctionBuilder): I32 {
    const size = f.i32.and(this.get32(f, CPU.offset.modeKey), f.i32.const(ModeKey.SIZE));
    return f.i32.eq(size, f.i32.const(ModeKey.CODE64));
  }
  mmu(f: FunctionBuilder, field: keyof CoreImports['mmuOffsets']): I32 {
    return f.i32.load(f.globalGet(this.io.mmu), this.io.mmuOffsets[field]);
  }

  /** Leaves the pending exception in the state; everyone up to the run loop just returns. */
  raise(): FunctionBuilder {
    const f = this.module.function('raise', ['i32', 'i32'], []);
    const [vector, error] = [f.param(0, 'i32'), f.param(1, 'i32')];
    this.set32(f, CPU.offset.faulted, () => f.i32.const(1));
    this.set32(f, CPU.offset.exitReason, () => f.i32.const(Exit.Fault));
    this.set32(f, CPU.offset.faultVector, () => f.get(vector));
    this.set32(f, CPU.offset.faultHasError, () => f.i32.ge_s(f.get(error), f.i32.const(0)));
    this.set32(f, CPU.offset.faultError, () => f.get(error));
    return f;
  }

  /** SDM vol. 1 §3.3.7.1: bits 63:47 (63:56 with CR4.LA57) all equal. */
  canonical(): FunctionBuilder {
    const f = this.module.function('canonical', ['i64'], ['i32']);
    const va = f.param(0, 'i64');
    const la57 = (): I32 => f.i32.and(this.get32(f, CPU.offset.cr4), f.i32.const(1 << 12));
    const shift = f.local('i64');
    f.set(shift, f.i64.extend_i32_u(f.select(f.i32.const(7), f.i32.const(16), la57())));
    f.i64.eq(f.i64.shr_s(f.i64.shl(f.get(va), f.get(shift)), f.get(shift)), f.get(va));
    return f;
  }

  /** (va, 0 read | 1 write) → host address, 0 (not plain memory), or -1 with the fault recorded. The page is not crossed. */
  walk(raise: FunctionBuilder, canonical: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('walk', ['i64', 'i32'], ['i32']);
    const [va, access] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const host = f.local('i32');
    f.if(this.mode64(f), () =>
      f.if(f.i32.eqz(f.call(canonical.ref<[I64], I32>(), f.get(va))), () => {
        // Which of #GP and #SS depends on the segment, which only the instruction knows: the run loop decodes it again.
        f.i64.store(this.cpu(f), f.get(va), CPU.offset.scratchVa);
        f.call(raise.ref<[I32, I32], void>(), f.i32.const(NON_CANONICAL), f.i32.const(0));
        f.return(f.i32.const(-1));
      }),
    );
    f.set(host, f.call(this.io.mmuFill, f.get(va), f.i32.or(f.get(access), this.get32(f, CPU.offset.mmuAccess))));
    f.if(f.i32.eq(f.get(host), f.i32.const(-1)), () => {
      f.i64.store(this.cpu(f), f.get(va), CPU.offset.cr2);
      f.call(raise.ref<[I32, I32], void>(), f.i32.const(Vector.PF), this.mmu(f, 'faultError'));
    });
    f.get(host);
    return f;
  }

  /** As `walk`, for accesses at the current privilege: devices are found in the TLB. */
  translate(walk: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('translate', ['i64', 'i32'], ['i32']);
    const [va, access] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const { i32, i64 } = f;
    const entry = f.local('i32');
    const index = tlbIndex(f, va);
    const array = f.select(this.get32(f, CPU.offset.tlbWrite), this.get32(f, CPU.offset.tlbRead), f.get(access));
    f.set(entry, i32.add(index, array));
    const tag = i64.xor(i64.and(f.get(va), i64.const(-PAGE)), i64.const(TLB_DEVICE_TAG));
    f.if(i64.eq(tag, i64.load(f.get(entry))), () => {
      const gpa = (): I64 => {
        const page = i64.shl(i64.load32_u(f.get(entry), 8), i64.const(12));
        return i64.or(page, i64.and(f.get(va), i64.const(PAGE - 1)));
      };
      const mmu = (): I32 => f.globalGet(this.io.mmu);
      i64.store(mmu(), gpa(), this.io.mmuOffsets.gpaLo);
      i32.store(mmu(), i32.const(0), this.io.mmuOffsets.host);
      i32.store(mmu(), i32.const(Kind.unbacked), this.io.mmuOffsets.kind);
      f.return(i32.const(0));
    });
    f.call(walk.ref<[I64, I32], I32>(), f.get(va), f.get(access));
    return f;
  }

  /** Tells of a data access, if anyone wants to know, and returns `answer` with #AC recorded where it has to be aligned and is not. */
  watched(f: FunctionBuilder, va: Local<I64>, size: Local<I32>, write: () => I32, answer: () => I32 | I64): void {
    const { i32 } = f;
    f.if(this.get32(f, CPU.offset.watch), () => {
      const has = (bit: number): I32 => i32.and(this.get32(f, CPU.offset.watch), i32.const(bit));
      f.if(has(Watch.Alignment), () =>
        f.if(f.call(this.misaligned.ref<[I64, I32], I32>(), f.get(va), f.get(size)), () => {
          f.return(answer());
        }),
      );
      f.if(has(Watch.Breakpoints), () => f.call(this.io.watch, f.get(va), f.get(size), write()));
    });
  }

  misaligned!: FunctionBuilder;
  /**
   * (va, size) → 1 with #AC(0) recorded if an access is misaligned. It comes before page faults, as on AMD's processors (SDM vol. 3 table 6-2
   * has both in one class), and after the checks for canonical addresses and of flat segments.
   */
  checkAlignment(raise: FunctionBuilder, canonical: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('misaligned', ['i64', 'i32'], ['i32']);
    const { i32 } = f;
    const [va, size] = [f.param(0, 'i64'), f.param(1, 'i32')];
    // Table 6-7: 80-bit numbers by 8, all else by its size, up to 16.
    const is = (bytes: number): I32 => i32.eq(f.get(size), i32.const(bytes));
    const whole = (): I32 => i32.eqz(i32.and(f.get(size), i32.sub(f.get(size), i32.const(1))));
    const byItself = (): I32 => i32.and(whole(), i32.le_u(f.get(size), i32.const(16)));
    const other = (): I32 => f.select(i32.const(8), f.select(i32.const(16), i32.const(1), is(32)), is(10));
    const alignment = f.select(f.get(size), other(), byItself());
    const off = i32.and(i32.sub(alignment, i32.const(1)), i32.wrap_i64(f.get(va)));
    f.if(i32.eqz(off), () => f.return(i32.const(0)));
    f.if(i32.eqz(f.call(canonical.ref<[I64], I32>(), f.get(va))), () => f.return(i32.const(0)));
    const end = f.i64.add(f.get(va), f.i64.extend_i32_u(f.get(size)));
    const beyond = f.i64.gt_u(end, f.i64.const(0x1_0000_0000));
    const flat = i32.and(this.get32(f, CPU.offset.modeKey), i32.const(ModeKey.FLAT | ModeKey.CODE64));
    f.if(i32.and(beyond, i32.eq(flat, i32.const(ModeKey.FLAT))), () => f.return(i32.const(0)));
    f.call(raise.ref<[I32, I32], void>(), i32.const(Vector.AC), i32.const(0));
    i32.const(1);
    return f;
  }

  /** 1 if `size` bytes at `va` lie in one page. */
  within(f: FunctionBuilder, va: Local<I64>, size: Local<I32>): I32 {
    const offset = f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(PAGE - 1));
    return f.i32.le_u(f.i32.add(offset, f.get(size)), f.i32.const(PAGE));
  }

  /** Pushes the value of `size` (1, 2, 4, 8) bytes at a host address. */
  loadSized(f: FunctionBuilder, host: Local<I32>, size: Local<I32>): I64 {
    return f.ifOf(
      'i64',
      f.i32.eq(f.get(size), f.i32.const(8)),
      () => f.i64.load(f.get(host)),
      () =>
        f.ifOf(
          'i64',
          f.i32.eq(f.get(size), f.i32.const(4)),
          () => f.i64.load32_u(f.get(host)),
          () =>
            f.ifOf(
              'i64',
              f.i32.eq(f.get(size), f.i32.const(2)),
              () => f.i64.load16_u(f.get(host)),
              () => f.i64.load8_u(f.get(host)),
            ),
        ),
    );
  }
  storeSized(f: FunctionBuilder, host: Local<I32>, value: Local<I64>, size: Local<I32>): void {
    const is = (bytes: number): I32 => f.i32.eq(f.get(size), f.i32.const(bytes));
    f.if(
      is(8),
      () => f.i64.store(f.get(host), f.get(value)),
      () =>
        f.if(
          is(4),
          () => f.i64.store32(f.get(host), f.get(value)),
          () =>
            f.if(
              is(2),
              () => f.i64.store16(f.get(host), f.get(value)),
              () => f.i64.store8(f.get(host), f.get(value)),
            ),
        ),
    );
  }

  /** Counts `n` from 0 to `size` - 1. */
  forEachByte(f: FunctionBuilder, n: Local<I32>, size: Local<I32>, body: () => void): void {
    f.set(n, f.i32.const(0));
    f.loop((again) => {
      body();
      f.set(n, f.i32.add(f.get(n), f.i32.const(1)));
      f.brIf(again, f.i32.lt_u(f.get(n), f.get(size)));
    });
  }

  /**
   * Whether `size` bytes at `va`, which cross a page, leave the address space: a flat segment at 4 GiB, or the canonical addresses in
   * 64-bit mode. That is #GP or #SS before any page is looked at, not a wrap (SDM vol. 3 §5.3; vol. 1 §3.3.7.1). Raises it.
   */
  leavesSpace(raise: FunctionBuilder, canonical: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('leavesSpace', ['i64', 'i32'], ['i32']);
    const [va, size] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const last = f.local('i64');
    const mode = f.local('i32');
    f.set(last, f.i64.add(f.get(va), f.i64.extend_i32_u(f.i32.sub(f.get(size), f.i32.const(1)))));
    f.set(mode, f.i32.and(this.get32(f, CPU.offset.modeKey), f.i32.const(ModeKey.FLAT | ModeKey.CODE64)));
    const refuse = (): void => {
      f.i64.store(this.cpu(f), f.get(va), CPU.offset.scratchVa);
      f.call(raise.ref<[I32, I32], void>(), f.i32.const(NON_CANONICAL), f.i32.const(0));
      f.return(f.i32.const(1));
    };
    f.if(f.i32.eq(f.get(mode), f.i32.const(ModeKey.FLAT)), () => f.if(f.i64.gt_u(f.get(last), f.i64.const(0xffff_ffff)), refuse));
    f.if(f.i32.and(f.get(mode), f.i32.const(ModeKey.CODE64)), () =>
      f.if(f.i32.eqz(f.call(canonical.ref<[I64], I32>(), f.get(last))), refuse),
    );
    f.i32.const(0);
    return f;
  }

  /** Returns `answer` when a crossing access leaves the address space. */
  refuseLeaving<T extends I32 | I64>(f: FunctionBuilder, va: Local<I64>, size: Local<I32>, answer: () => T): void {
    f.if(f.call(this.leaves.ref<[I64, I32], I32>(), f.get(va), f.get(size)), () => f.return(answer()));
  }

  loadSlow(translate: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('loadSlow', ['i64', 'i32'], ['i64']);
    const [va, size] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const host = f.local('i32');
    const n = f.local('i32');
    const value = f.local('i64');
    this.watched(
      f,
      va,
      size,
      () => f.i32.const(0),
      () => f.i64.const(0),
    );
    f.if(this.within(f, va, size), () => {
      f.set(host, f.call(translate.ref<[I64, I32], I32>(), f.get(va), f.i32.const(0)));
      f.if(f.i32.eq(f.get(host), f.i32.const(-1)), () => f.return(f.i64.const(0)));
      f.if(f.get(host), () => f.return(this.loadSized(f, host, size)));
      f.call(this.io.mmioRead, f.get(size));
      f.return(f.i64.load(this.cpu(f), CPU.offset.helper));
    });
    this.refuseLeaving(f, va, size, () => f.i64.const(0));
    // Both pages are found readable before a byte is read: a device must not see half of an access that faults.
    const addByte = (byte: () => I64): void =>
      f.set(value, f.i64.or(f.get(value), f.i64.shl(byte(), f.i64.extend_i32_u(f.i32.shl(f.get(n), f.i32.const(3))))));
    this.acrossPages(
      f,
      translate,
      va,
      0,
      () => f.return(f.i64.const(0)),
      (byteAt) => {
        this.forEachByte(f, n, size, () => addByte(() => f.i64.load8_u(byteAt(n))));
        f.return(f.get(value));
      },
    );
    // Not all of it is memory: byte by byte, each through its own translation.
    this.forEachByte(f, n, size, () => {
      const at = f.local('i64');
      f.set(at, this.linearAt(f, va, n));
      const byte = f.local('i64');
      f.set(byte, f.call(f.ref<[I64, I32], I64>(), f.get(at), f.i32.const(1)));
      f.if(this.get32(f, CPU.offset.faulted), () => f.return(f.i64.const(0)));
      addByte(() => f.get(byte));
    });
    f.get(value);
    return f;
  }

  /** The bytes from `va` to the end of its page, and the address behind them. */
  nextPage(f: FunctionBuilder, va: Local<I64>): { readonly room: Local<I32>; readonly second: Local<I64> } {
    const room = f.local('i32');
    const second = f.local('i64');
    f.set(room, f.i32.sub(f.i32.const(PAGE), f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(PAGE - 1))));
    f.set(second, this.linearAt(f, va, room));
    return { room, second };
  }

  /**
   * For an access that crosses a page: `failed` with the fault recorded if one of the pages cannot be accessed, the first one's first; `plain` if both are
   * memory, with the host address of each byte; otherwise carries on.
   */
  acrossPages(
    f: FunctionBuilder,
    translate: FunctionBuilder,
    va: Local<I64>,
    access: number | Local<I32>,
    failed: () => void,
    plain: (byteAt: (n: Local<I32>) => I32) => void,
  ): void {
    const { i32 } = f;
    const { room, second } = this.nextPage(f, va);
    const hosts = [va, second].map((address) => {
      const host = f.local('i32');
      const kind = (): I32 => (typeof access === 'number' ? i32.const(access) : f.get(access));
      f.set(host, f.call(translate.ref<[I64, I32], I32>(), f.get(address), kind()));
      f.if(i32.eq(f.get(host), i32.const(-1)), failed);
      return host;
    });
    const isMemory = (host: Local<I32>): I32 => i32.ne(f.get(host), i32.const(0));
    f.if(i32.and(isMemory(hosts[0]), isMemory(hosts[1])), () => {
      f.set(hosts[1], i32.sub(f.get(hosts[1]), f.get(room)));
      plain((n) => i32.add(f.get(n), f.select(f.get(hosts[0]), f.get(hosts[1]), i32.lt_u(f.get(n), f.get(room)))));
    });
  }

  /** va + n, wrapped to 32 bits outside 64-bit mode. */
  linearAt(f: FunctionBuilder, va: Local<I64>, n: Local<I32>): I64 {
    const sum = f.local('i64');
    f.set(sum, f.i64.add(f.get(va), f.i64.extend_i32_u(f.get(n))));
    return f.select(f.get(sum), f.i64.and(f.get(sum), f.i64.const(0xffff_ffff)), this.mode64(f));
  }

  /** Stores where `translate` for writing gave 0: a device, read-only memory, or a page with translated code. */
  storeIrregular(): FunctionBuilder {
    const f = this.module.function('storeIrregular', ['i64', 'i32'], []);
    const [value, size] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const host = f.local('i32');
    f.set(host, this.mmu(f, 'host'));
    f.if(
      f.i32.eq(this.mmu(f, 'kind'), f.i32.const(Kind.code)),
      () => {
        this.storeSized(f, host, value, size);
        this.checkCode(f, host, size);
      },
      () => {
        const gpa = f.i64.load(f.globalGet(this.io.mmu), this.io.mmuOffsets.gpaLo);
        f.if(f.call(this.#ring, gpa, f.get(value), f.get(size)), () => f.return());
        f.i64.store(this.cpu(f), f.get(value), CPU.offset.helper);
        f.call(this.io.mmioWrite, f.get(size));
      },
    );
    return f;
  }

  /**
   * Sets `restart` and returns `result` if `size` bytes at `va` (in one page) are translated code; returns `result` with the fault recorded
   * if they cannot be written; else carries on.
   */
  leaveIfCode(f: FunctionBuilder, translate: FunctionBuilder, va: Local<I64>, size: Local<I32>, result: number): void {
    const host = f.local('i32');
    const offset = (): I32 => f.i32.and(f.i32.wrap_i64(f.get(va)), f.i32.const(PAGE - 1));
    f.set(host, f.call(translate.ref<[I64, I32], I32>(), f.get(va), f.i32.const(ACCESS_WRITE)));
    f.if(f.i32.eq(f.get(host), f.i32.const(-1)), () => f.return(f.i32.const(result)));
    f.if(f.i32.eqz(f.get(host)), () =>
      f.if(f.i32.eq(this.mmu(f, 'kind'), f.i32.const(Kind.code)), () => {
        f.set(host, this.mmu(f, 'host'));
        // Past the page's end the access is checked by its second half.
        const room = f.local('i32');
        f.set(room, f.i32.sub(f.i32.const(PAGE), offset()));
        f.set(room, f.select(f.get(size), f.get(room), f.i32.lt_u(f.get(size), f.get(room))));
        f.if(this.touchesCode(f, host, room), () => {
          this.set32(f, CPU.offset.restart, () => f.i32.const(1));
          f.return(f.i32.const(result));
        });
      }),
    );
  }

  /** 1 if the bytes overlap a 64-byte granule that holds translated code. */
  touchesCode(f: FunctionBuilder, host: Local<I32>, size: Local<I32>): I32 {
    const page = (): I32 => f.i32.shl(f.i32.shr_u(f.get(host), f.i32.const(12)), f.i32.const(3));
    const granules = f.local('i64');
    f.set(granules, f.i64.load(f.i32.add(page(), f.globalGet(this.io.codeMap))));
    const granuleOf = (address: I32): I64 => f.i64.extend_i32_u(f.i32.and(f.i32.shr_u(address, f.i32.const(6)), f.i32.const(63)));
    const bit = (address: () => I32): I64 => {
      const one = f.i64.const(1);
      return f.i64.shl(one, granuleOf(address()));
    };
    const first = bit(() => f.get(host));
    const last = bit(() => f.i32.sub(f.i32.add(f.get(host), f.get(size)), f.i32.const(1)));
    return f.i64.ne(f.i64.and(f.i64.or(first, last), f.get(granules)), f.i64.const(0));
  }

  storeSafe(translate: FunctionBuilder, storeSlow: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('storeSafe', ['i64', 'i64', 'i32'], ['i32']);
    const [va, value, size] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i32')];
    this.leaveIfCodeAnywhere(f, translate, va, size, 1);
    f.call(storeSlow.ref<[I64, I64, I32], I32>(), f.get(va), f.get(value), f.get(size));
    return f;
  }

  referenceSafe(translate: FunctionBuilder, reference: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('referenceSafe', ['i64', 'i32', 'i32'], ['i32']);
    const [va, size, access] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i32')];
    f.if(f.get(access), () =>
      f.if(
        f.i32.eq(f.get(access), f.i32.const(ACCESS_WRITE)),
        () => this.leaveIfCodeAnywhere(f, translate, va, size, 0),
        () => this.inBothPages(f, va, size, 0, (part) => this.leaveIfDevice(f, translate, part)),
      ),
    );
    f.call(reference.ref<[I64, I32, I32], I32>(), f.get(va), f.get(size), f.i32.and(f.get(access), f.i32.const(ACCESS_WRITE)));
    return f;
  }

  /** Sets `restart` and returns 0 if reading at `va` would reach a device; returns 0 with the fault recorded if it cannot be read. */
  leaveIfDevice(f: FunctionBuilder, translate: FunctionBuilder, va: Local<I64>): void {
    const host = f.local('i32');
    f.set(host, f.call(translate.ref<[I64, I32], I32>(), f.get(va), f.i32.const(0)));
    f.if(f.i32.eqz(f.get(host)), () => this.set32(f, CPU.offset.restart, () => f.i32.const(1)));
    f.if(f.i32.le_u(f.i32.add(f.get(host), f.i32.const(1)), f.i32.const(1)), () => f.return(f.i32.const(0)));
  }

  leaveIfCodeAnywhere(f: FunctionBuilder, translate: FunctionBuilder, va: Local<I64>, size: Local<I32>, result: number): void {
    this.inBothPages(f, va, size, result, (part, bytes) => this.leaveIfCode(f, translate, part, bytes, result));
  }

  /** Does something for both pages of an access that crosses, in the order in which the access itself checks. */
  inBothPages(
    f: FunctionBuilder,
    va: Local<I64>,
    size: Local<I32>,
    result: number,
    part: (va: Local<I64>, size: Local<I32>) => void,
  ): void {
    f.if(f.i32.eqz(this.within(f, va, size)), () => this.refuseLeaving(f, va, size, () => f.i32.const(result)));
    part(va, size);
    f.if(f.i32.eqz(this.within(f, va, size)), () => {
      const { room, second } = this.nextPage(f, va);
      f.set(room, f.i32.sub(f.get(size), f.get(room)));
      part(second, room);
    });
  }

  /** After a store: tells the translator if the bytes overlap a 64-byte granule that holds translated code; data beside code costs one test. */
  checkCode(f: FunctionBuilder, host: Local<I32>, size: Local<I32>): void {
    // Another processor that translates here marks its code and then looks whether it still is what it translated: either it sees the store,
    // or this sees the mark.
    f.atomicFence();
    f.if(this.touchesCode(f, host, size), () => f.call(this.io.codeWrite, f.get(host), f.get(size)));
  }

  storeSlow(translate: FunctionBuilder, irregular: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('storeSlow', ['i64', 'i64', 'i32'], ['i32']);
    const [va, value, size] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i32')];
    const host = f.local('i32');
    const n = f.local('i32');
    this.watched(
      f,
      va,
      size,
      () => f.i32.const(ACCESS_WRITE),
      () => f.i32.const(1),
    );
    f.if(this.within(f, va, size), () => {
      f.set(host, f.call(translate.ref<[I64, I32], I32>(), f.get(va), f.i32.const(ACCESS_WRITE)));
      f.if(f.i32.eq(f.get(host), f.i32.const(-1)), () => f.return(f.i32.const(1)));
      f.if(
        f.get(host),
        () => this.storeSized(f, host, value, size),
        () => f.call(irregular.ref<[I64, I32], void>(), f.get(value), f.get(size)),
      );
      f.return(f.i32.const(0));
    });
    this.refuseLeaving(f, va, size, () => f.i32.const(1));
    // Both pages must be writable before a byte changes; the second is checked last so that its fault address is its start.
    const byte = (): I64 => f.i64.shr_u(f.get(value), f.i64.extend_i32_u(f.i32.shl(f.get(n), f.i32.const(3))));
    this.acrossPages(
      f,
      translate,
      va,
      ACCESS_WRITE,
      () => f.return(f.i32.const(1)),
      (byteAt) => {
        this.forEachByte(f, n, size, () => f.i64.store8(byteAt(n), byte()));
        f.return(f.i32.const(0));
      },
    );
    this.forEachByte(f, n, size, () => {
      const at = this.linearAt(f, va, n);
      f.drop(f.call(f.ref<[I64, I64, I32], I32>(), at, byte(), f.i32.const(1)));
    });
    f.i32.const(0);
    return f;
  }

  /** See `Helpers.reference`. */
  reference(translate: FunctionBuilder, loadSlow: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('reference', ['i64', 'i32', 'i32'], ['i32']);
    const [va, size, write] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i32')];
    const host = f.local('i32');
    const n = f.local('i32');
    const scratch = (): I32 => f.i32.add(this.cpu(f), f.i32.const(CPU.offset.scratch));
    const failed = (): void => f.return(f.i32.const(0));
    this.watched(
      f,
      va,
      size,
      () => f.get(write),
      () => f.i32.const(0),
    );
    const keep = (): void => {
      f.i64.store(this.cpu(f), f.get(va), CPU.offset.scratchVa);
      this.set32(f, CPU.offset.scratchSize, () => f.get(size));
    };
    f.if(
      this.within(f, va, size),
      () => {
        f.set(host, f.call(translate.ref<[I64, I32], I32>(), f.get(va), f.get(write)));
        f.if(f.i32.eq(f.get(host), f.i32.const(-1)), failed);
        f.if(f.get(host), () => f.return(f.get(host)));
      },
      () => {
        this.refuseLeaving(f, va, size, () => f.i32.const(0));
        this.acrossPages(f, translate, va, write, failed, (byteAt) => {
          keep();
          this.forEachByte(f, n, size, () => f.i64.store8(f.i32.add(scratch(), f.get(n)), f.i64.load8_u(byteAt(n))));
          f.return(scratch());
        });
      },
    );
    keep();
    const at = f.local('i64');
    // A device is read in one access of its size where it has one; anything else in bytes.
    f.if(
      f.i32.and(this.within(f, va, size), f.i32.le_u(f.get(size), f.i32.const(8))),
      () => f.i64.store(scratch(), f.call(loadSlow.ref<[I64, I32], I64>(), f.get(va), f.get(size))),
      () =>
        this.forEachByte(f, n, size, () => {
          f.set(at, this.linearAt(f, va, n));
          f.i64.store8(f.i32.add(scratch(), f.get(n)), f.call(loadSlow.ref<[I64, I32], I64>(), f.get(at), f.i32.const(1)));
        }),
    );
    scratch();
    return f;
  }

  commit(translate: FunctionBuilder, storeSlow: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('commit', [], []);
    const va = f.local('i64');
    const size = f.local('i32');
    const n = f.local('i32');
    f.set(va, f.i64.load(this.cpu(f), CPU.offset.scratchVa));
    f.set(size, this.get32(f, CPU.offset.scratchSize));
    const store = storeSlow.ref<[I64, I64, I32], I32>();
    f.if(
      f.i32.le_u(f.get(size), f.i32.const(8)),
      () => f.drop(f.call(store, f.get(va), f.i64.load(this.cpu(f), CPU.offset.scratch), f.get(size))),
      () => {
        const byte = (): I64 => f.i64.load8_u(f.i32.add(f.i32.add(this.cpu(f), f.i32.const(CPU.offset.scratch)), f.get(n)));
        f.if(f.i32.eqz(this.within(f, va, size)), () =>
          this.acrossPages(
            f,
            translate,
            va,
            ACCESS_WRITE,
            () => f.return(),
            (byteAt) => {
              this.forEachByte(f, n, size, () => f.i64.store8(byteAt(n), byte()));
              f.return();
            },
          ),
        );
        this.forEachByte(f, n, size, () => f.drop(f.call(store, this.linearAt(f, va, n), byte(), f.i32.const(1))));
      },
    );
    return f;
  }

  plainHost(canonical: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('plainHost', ['i64', 'i32'], ['i32']);
    const [va, write] = [f.param(0, 'i64'), f.param(1, 'i32')];
    const entry = f.local('i32');
    f.if(this.get32(f, CPU.offset.watch), () => f.return(f.i32.const(0)));
    const array = f.select(this.get32(f, CPU.offset.tlbWrite), this.get32(f, CPU.offset.tlbRead), f.get(write));
    const index = tlbIndex(f, va);
    f.set(entry, f.i32.add(array, index));
    f.if(f.i64.le_u(f.i64.sub(f.get(va), f.i64.load(f.get(entry))), f.i64.const(PAGE - 1)), () =>
      f.return(f.i32.add(f.i32.wrap_i64(f.get(va)), f.i32.load(f.get(entry), 8))),
    );
    f.if(this.mode64(f), () => f.if(f.i32.eqz(f.call(canonical.ref<[I64], I32>(), f.get(va))), () => f.return(f.i32.const(0))));
    const host = f.local('i32');
    f.set(host, f.call(this.io.mmuFill, f.get(va), f.i32.or(f.get(write), this.get32(f, CPU.offset.mmuAccess))));
    f.select(f.i32.const(0), f.get(host), f.i32.eq(f.get(host), f.i32.const(-1)));
    return f;
  }

  /** Linear address of `size | write << 8` bytes at an offset of a segment (SDM vol. 3 §5.3, §5.4). */
  segmentOffset(raise: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('segmentOffset', ['i64', 'i32', 'i32'], ['i64']);
    const [offset, access, segment] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i32')];
    const words = (field: number): I32 => f.i32.load(f.i32.add(this.cpu(f), f.i32.shl(f.get(segment), f.i32.const(2))), field);
    const base = (): I64 => f.i64.load(f.i32.add(this.cpu(f), f.i32.shl(f.get(segment), f.i32.const(3))), CPU.offset.segBase);
    f.if(this.mode64(f), () =>
      f.return(
        f.ifOf(
          'i64',
          f.i32.ge_u(f.get(segment), f.i32.const(Seg.FS)),
          () => f.i64.add(f.get(offset), base()),
          () => f.get(offset),
        ),
      ),
    );
    const type = f.local('i32');
    f.set(type, words(CPU.offset.segAttr));
    const last = f.local('i64');
    const size = (): I64 => f.i64.extend_i32_u(f.i32.and(f.get(access), f.i32.const(0xff)));
    f.set(last, f.i64.sub(f.i64.add(f.get(offset), size()), f.i64.const(1)));
    const below = (): I32 => f.i64.lt_u(f.get(offset), f.i64.extend_i32_u(words(CPU.offset.segLow)));
    // Beyond a limit of 4 GiB an access may fault or not (§5.3). In FS and GS it does not: most forms add their bases without a look at limits.
    const whole = (): I32 =>
      f.i32.and(f.i32.ge_u(f.get(segment), f.i32.const(Seg.FS)), f.i32.eq(words(CPU.offset.segLimit), f.i32.const(-1)));
    const beyond = (): I32 => f.i64.gt_u(f.get(last), f.i64.extend_i32_u(words(CPU.offset.segLimit)));
    const above = (): I32 => f.i32.and(beyond(), f.i32.eqz(whole()));
    // Writing needs a writable data segment (type bits 3,1 = 0,1); reading anything but an execute-only one (1,0).
    const kind = (): I32 => f.i32.and(f.get(type), f.i32.const(0xa));
    const write = (): I32 => f.i32.and(f.get(access), f.i32.const(0x100));
    const denied = (): I32 => f.select(f.i32.ne(kind(), f.i32.const(2)), f.i32.eq(kind(), f.i32.const(8)), write());
    f.if(f.i32.or(f.i32.or(f.i32.or(below(), above()), f.i32.eqz(f.get(type))), denied()), () => {
      const vector = f.select(f.i32.const(Vector.SS), f.i32.const(Vector.GP), f.i32.eq(f.get(segment), f.i32.const(Seg.SS)));
      f.call(raise.ref<[I32, I32], void>(), vector, f.i32.const(0));
      f.return(f.i64.const(0));
    });
    f.i64.and(f.i64.add(f.get(offset), base()), f.i64.const(0xffff_ffff));
    return f;
  }

  segmentAddress(segmentOffset: FunctionBuilder): FunctionBuilder {
    const f = this.module.function('segmentAddress', ['i64', 'i32', 'i32'], ['i64']);
    const [displacement, record, access] = [f.param(0, 'i64'), f.param(1, 'i32'), f.param(2, 'i32')];
    const register = (field: number): I64 => f.i64.load(f.i32.load(f.get(record), field));
    const shift = (): I64 => f.i64.load8_u(f.get(record), Record.shift);
    const base = f.i64.add(f.get(displacement), register(Record.base));
    const index = f.i64.shl(register(Record.index), f.i64.load8_u(f.get(record), Record.scale));
    const sum = f.i64.add(f.i64.add(base, index), f.i64.load32_s(f.get(record), Record.disp));
    const offset = f.i64.shr_u(f.i64.shl(sum, shift()), shift());
    f.call(segmentOffset.ref<[I64, I32, I32], I64>(), offset, f.get(access), f.i32.load8_u(f.get(record), Record.segment));
    return f;
  }
}

/** Pseudo-vector of a non-canonical address: the run loop makes it #SS or #GP. */
export const NON_CANONICAL = 0x100;

export function addMemoryHelpers(module: ModuleBuilder, io: CoreImports, ring: DoorbellFunctions['ringMemory']): MemoryHelpers {
  const b = new Builder(module, io, ring);
  const raise = b.raise();
  const canonical = b.canonical();
  b.leaves = b.leavesSpace(raise, canonical);
  const walk = b.walk(raise, canonical);
  const translate = b.translate(walk);
  b.misaligned = b.checkAlignment(raise, canonical);
  const loadSlow = b.loadSlow(translate);
  const storeSlow = b.storeSlow(translate, b.storeIrregular());
  const reference = b.reference(translate, loadSlow);
  const storeSafe = b.storeSafe(translate, storeSlow);
  const referenceSafe = b.referenceSafe(translate, reference);
  const commit = b.commit(translate, storeSlow);
  const plainHost = b.plainHost(canonical);
  const segmentOffset = b.segmentOffset(raise);
  const segmentAddress = b.segmentAddress(segmentOffset);
  return {
    raise: raise.ref(),
    canonical: canonical.ref(),
    walk: walk.ref(),
    translate: translate.ref(),
    loadSlow: loadSlow.ref(),
    storeSlow: storeSlow.ref(),
    reference: reference.ref(),
    storeSafe: storeSafe.ref(),
    referenceSafe: referenceSafe.ref(),
    commit: commit.ref(),
    plainHost: plainHost.ref(),
    segmentAddress: segmentAddress.ref(),
    segmentOffset: segmentOffset.ref(),
  };
}
