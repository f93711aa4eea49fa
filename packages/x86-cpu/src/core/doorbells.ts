/**
 * Rings doorbells: looks a write up in the table of those whose event is in shared memory (ports.ts, `Doorbells`), and signals the event as the
 * eventfd's own code does. Nothing here leaves WebAssembly.
 */
import type { FuncRef, FunctionBuilder, I32, I64, Local, ModuleBuilder } from '@tsvisor/wasm-codegen';
import type { CoreImports, DoorbellLayout } from './imports.ts';
import { exchanged, wakeAll } from './shared-words.ts';

export type DoorbellFunctions = {
  /** (guest-physical address, value, bytes) → 1 if that write was a signal. Bits of the value above its size do not count, here and below. */
  readonly ringMemory: FuncRef<[I64, I64, I32], I32>;
  /** (port, value, bytes) → the same. */
  readonly ringPort: FuncRef<[I64, I64, I32], I32>;
  /** (number, first argument) → the same. */
  readonly ringHypercall: FuncRef<[I64, I64], I32>;
};
export type DoorbellImports = Pick<CoreImports, 'doorbells' | 'doorbellReader' | 'doorbellLayout'>;

/** (key, value, bytes) */
type Ring = FuncRef<[I64, I64, I32], I32>;

const SLEEPERS = 1;
const PAGE = 4096;

export function addDoorbells(module: ModuleBuilder, io: DoorbellImports): DoorbellFunctions {
  const layout = io.doorbellLayout;
  const ring = layout && addRing(module, io, layout);
  const writes = (name: string, bus: 'pio' | 'mmio'): DoorbellFunctions['ringPort'] => {
    const f = module.function(name, ['i64', 'i64', 'i32'], ['i32']);
    const [address, value, size] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i32')];
    if (!ring) f.i32.const(0);
    else {
      const surplus = (): I64 => f.i64.extend_i32_u(f.i32.sub(f.i32.const(64), f.i32.shl(f.get(size), f.i32.const(3))));
      f.set(value, f.i64.shr_u(f.i64.shl(f.get(value), surplus()), surplus()));
      f.call(ring, keyOf(f, layout, bus, address), f.get(value), f.get(size));
    }
    return f.ref();
  };
  return {
    ringMemory: writes('ringMemory', 'mmio'),
    ringPort: writes('ringPort', 'pio'),
    ringHypercall: addHypercall(module, layout, ring),
  };
}

/** Hypercalls are like writes of 8 bytes. Their numbers have 32 bits. */
function addHypercall(
  module: ModuleBuilder,
  layout: DoorbellLayout | undefined,
  ring: Ring | undefined,
): DoorbellFunctions['ringHypercall'] {
  const f = module.function('ringHypercall', ['i64', 'i64'], ['i32']);
  const [number, argument] = [f.param(0, 'i64'), f.param(1, 'i64')];
  if (layout && ring) {
    f.if(f.i64.eqz(f.i64.shr_u(f.get(number), f.i64.const(32))), () =>
      f.return(f.call(ring, keyOf(f, layout, 'hypercall', number), f.get(argument), f.i32.const(8))),
    );
  }
  f.i32.const(0);
  return f.ref();
}

function keyOf(f: FunctionBuilder, layout: DoorbellLayout, bus: keyof DoorbellLayout['buses'], address: Local<I64>): I64 {
  return f.i64.or(f.get(address), f.i64.const(BigInt(layout.buses[bus]) << BigInt(layout.busShift)));
}

function addRing(module: ModuleBuilder, io: DoorbellImports, layout: DoorbellLayout): Ring {
  const find = addFind(module, io, layout);
  const signal = addSignal(module, layout);
  const f = module.function('ring', ['i64', 'i64', 'i32'], ['i32']);
  const [key, value, size] = [f.param(0, 'i64'), f.param(1, 'i64'), f.param(2, 'i32')];
  const { i32, i64 } = f;
  const anyValue = f.local('i32');
  const oneValue = f.local('i32');
  const event = f.local('i32');
  const reader = (): I32 => f.globalGet(io.doorbellReader);
  const sequence = f.local('i32');

  const { hash, high, value: ofValue } = layout.multipliers;
  const hashed = (mixed: Local<I32>): I32 => {
    const product = i32.mul(f.get(mixed), i32.const(hash | 0));
    return i32.shr_u(product, i32.const(32 - Math.log2(layout.entries)));
  };
  const upper = (of: Local<I64>): I32 => i32.wrap_i64(i64.shr_u(f.get(of), i64.const(32)));
  f.set(oneValue, i32.xor(i32.wrap_i64(f.get(key)), i32.mul(upper(key), i32.const(high | 0))));
  f.set(anyValue, hashed(oneValue));
  const folded = i32.mul(i32.xor(i32.wrap_i64(f.get(value)), upper(value)), i32.const(ofValue | 0));
  f.set(oneValue, i32.xor(folded, f.get(oneValue)));
  f.set(oneValue, hashed(oneValue));

  // Most writes to devices are no signals, and need not be seen to look.
  const isEmpty = (place: Local<I32>): I32 => i32.eqz(i32.atomic_load(entryAt(f, io, layout, place), layout.event));
  f.if(isEmpty(anyValue), () => f.if(isEmpty(oneValue), () => f.return(i32.const(0))));
  const page = i64.and(f.get(key), i64.const(-PAGE));
  f.if(i64.eq(page, i64.load(reader(), layout.hiddenPage)), () => f.return(i32.const(0)));

  f.set(sequence, i32.load(reader(), layout.sequence));
  i32.atomic_store(reader(), i32.add(f.get(sequence), i32.const(1)), layout.sequence);
  f.set(event, f.call(find, f.get(anyValue), f.get(key), f.get(value), f.get(size)));
  f.if(i32.eqz(f.get(event)), () => f.set(event, f.call(find, f.get(oneValue), f.get(key), f.get(value), f.get(size))));
  f.if(f.get(event), () => {
    f.call(signal, f.get(event));
    f.set(sequence, i32.add(f.get(sequence), i32.const(2)));
  });
  // Not before the load that ends `find` or `signal`, which is after what those did. A barrier behind this would be for nobody, and take 20 of a store's 54 ns.
  i32.store(reader(), f.get(sequence), layout.sequence);
  i32.ne(f.get(event), i32.const(0));
  return f.ref();
}

/** Address of an entry. */
function entryAt(f: FunctionBuilder, io: DoorbellImports, layout: DoorbellLayout, place: Local<I32>): I32 {
  return f.i32.add(f.i32.mul(f.get(place), f.i32.const(layout.entryBytes)), f.globalGet(io.doorbells));
}

/** (place, key, value, bytes) → address of the event that answers, looked for from that place on; 0 if there is none. */
function addFind(module: ModuleBuilder, io: DoorbellImports, layout: DoorbellLayout): FuncRef<[I32, I64, I64, I32], I32> {
  const f = module.function('findDoorbell', ['i32', 'i64', 'i64', 'i32'], ['i32']);
  const [place, key, value, size] = [f.param(0, 'i32'), f.param(1, 'i64'), f.param(2, 'i64'), f.param(3, 'i32')];
  const { i32, i64 } = f;
  const entry = f.local('i32');
  const event = f.local('i32');
  const answers = f.local('i32');
  f.loop((next) => {
    f.set(entry, entryAt(f, io, layout, place));
    // The rest of an entry was written before its event.
    f.set(event, i32.atomic_load(f.get(entry), layout.event));
    f.if(i32.eqz(f.get(event)), () => f.return(i32.const(0)));
    const same = i64.eq(i64.load(f.get(entry), layout.key), f.get(key));
    f.if(i32.and(same, i32.ne(f.get(event), i32.const(layout.removed))), () => {
      f.set(answers, i32.load(f.get(entry), layout.answers));
      const length = (): I32 => i32.and(f.get(answers), i32.const(~layout.answersValue));
      f.if(i32.or(i32.eqz(f.get(answers)), i32.eq(length(), f.get(size))), () => {
        const any = i32.eqz(i32.and(f.get(answers), i32.const(layout.answersValue)));
        f.if(i32.or(any, i64.eq(i64.load(f.get(entry), layout.value), f.get(value))), () => f.return(f.get(event)));
      });
    });
    f.set(place, i32.and(i32.add(f.get(place), i32.const(1)), i32.const(layout.entries - 1)));
    f.br(next);
  });
  f.unreachable();
  return f.ref();
}

/** (event) adds one, up to the overflow, and wakes who sleeps: `signal` and `changed` of eventfd's src/protocol.ts, step by step. */
function addSignal(module: ModuleBuilder, layout: DoorbellLayout): FuncRef<[I32], void> {
  const f = module.function('signal', ['i32'], []);
  const event = f.param(0, 'i32');
  const { i32, i64 } = f;
  const count = f.local('i64');
  const epoch = f.local('i32');
  const { counter, readers } = layout.eventfd;
  f.loop((again) => {
    f.set(count, i64.atomic_load(f.get(event), counter));
    const more = (): I64 => i64.add(f.get(count), i64.extend_i32_u(i64.ne(f.get(count), i64.const(-1))));
    const seen = i64.atomic_cmpxchg(f.get(event), f.get(count), more(), counter);
    f.brIf(again, i64.ne(seen, f.get(count)));
  });
  f.set(epoch, i32.atomic_load(f.get(event), readers));
  f.if(i32.and(f.get(epoch), i32.const(SLEEPERS)), () => {
    // The next epoch, in which nobody sleeps.
    const next = (): I32 => i32.add(f.get(epoch), i32.const(1));
    const begun = exchanged(
      f,
      () => f.get(event),
      () => f.get(epoch),
      next,
      readers,
    );
    f.if(begun, () => wakeAll(f, f.get(event), readers));
  });
  return f.ref();
}
