/**
 * From linear to host addresses in a region: functions beside its code, so that each access that is not in a page reached before costs a
 * call and few bytes; V8 copies them to where they are called often.
 */
import type { FunctionBuilder, I32, I64, Local, ModuleBuilder } from '@tsvisor/wasm-codegen';
import type { Helpers } from '../emit/emitter.ts';
import { tlbIndex } from '../emit/emitter.ts';
import { CPU } from '../state.ts';

/** `write` and `source` (a read) give up where memory is not plain; `read` and `modify` then give the bounce buffer. */
export type Reach = 'read' | 'source' | 'write' | 'modify';
/** What `referenceSafe` is asked for. */
const ACCESS: Readonly<Record<Exclude<Reach, 'write'>, number>> = { read: 0, modify: 1, source: 2 };
/**
 * `(va, size) → host address`, zero-extended; with bit 63 set the bounce buffer, which is of this access alone; 0 for a fault, for a write
 * that is to be made by `storeSafe`, or with `restart` set for a read that is the interpreter's.
 */
export type Reaching = (kind: Reach) => FunctionBuilder;

const PAGE = 4096;

export function reachingIn(module: ModuleBuilder, cpu: (f: FunctionBuilder) => I32, helpers: Helpers): Reaching {
  const made = new Map<Reach, FunctionBuilder>();
  return (kind) => {
    let f = made.get(kind);
    if (!f) {
      f = module.function(`reach ${kind}`, ['i64', 'i32'], ['i64']);
      made.set(kind, f);
      define(f, kind, cpu, helpers);
    }
    return f;
  };
}

function define(f: FunctionBuilder, kind: Reach, cpu: (f: FunctionBuilder) => I32, helpers: Helpers): void {
  const [va, size] = [f.param(0, 'i64'), f.param(1, 'i32')];
  const entry = f.local('i32');
  const index = tlbIndex(f, va);
  f.set(
    entry,
    f.i32.add(index, f.i32.load(cpu(f), kind === 'read' || kind === 'source' ? CPU.offset.tlbRead : CPU.offset.tlbWrite)),
  );
  // One compare covers the tag and the page crossing: an address below the page wraps to a huge difference.
  const distance = f.i64.sub(f.get(va), f.i64.load(f.get(entry)));
  f.if(f.likely(f.i64.le_u(distance, f.i64.extend_i32_u(f.i32.sub(f.i32.const(PAGE), f.get(size))))), () =>
    f.return(f.i64.extend_i32_u(f.i32.add(f.i32.wrap_i64(f.get(va)), f.i32.load(f.get(entry), 8)))),
  );
  if (kind === 'write') f.i64.const(0);
  else referenced(f, kind, va, size, cpu, helpers);
}

function referenced(
  f: FunctionBuilder,
  kind: Exclude<Reach, 'write'>,
  va: Local<I64>,
  size: Local<I32>,
  cpu: (f: FunctionBuilder) => I32,
  helpers: Helpers,
): void {
  const host = f.local('i32');
  f.set(host, f.call(helpers.reference, f.get(va), f.get(size), f.i32.const(ACCESS[kind])));
  const bounced = f.i32.eq(f.get(host), f.i32.add(cpu(f), f.i32.const(CPU.offset.scratch)));
  const flag = f.i64.shl(f.i64.extend_i32_u(bounced), f.i64.const(63));
  f.i64.or(flag, f.i64.extend_i32_u(f.get(host)));
}
