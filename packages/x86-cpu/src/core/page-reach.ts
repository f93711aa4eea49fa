/** From linear to host addresses for compiled regions, where an access is not in the page that its register reached before. */
import type { FuncRef, I32, I64, ModuleBuilder } from '@tsvisor/wasm-codegen';
import { tlbIndex } from '../emit/emitter.ts';
import { CPU } from '../state.ts';
import type { CoreImports } from './imports.ts';
import type { MemoryHelpers } from './memory.ts';

/** `write` and `source` (a read) give up where memory is not plain; `read` and `modify` then give the bounce buffer. */
export type Reach = 'read' | 'source' | 'write' | 'modify';
/** What `referenceSafe` is asked for. */
export const REFERENCE: Readonly<Record<Exclude<Reach, 'write'>, number>> = { read: 0, modify: 1, source: 2 };

/** What no access has as its page: of one that is to be for its own access alone, and of one that was not reached. */
export const NO_PAGE = -1;
export const NOT_REACHED = -2;

const PAGE = 4096;

/**
 * `(va, size) → (page, addend)`: the page's linear address, and what makes host addresses of those in it; `NO_PAGE` with an addend for the
 * bounce buffer; `NOT_REACHED` for a fault, for a write that is to be made by `storeSafe`, or with `restart` set for a read that is the
 * interpreter's.
 */
export type PageReach = Readonly<Record<`${Reach}Page`, FuncRef<[I64, I32], void>>>;

export function addPageReach(module: ModuleBuilder, io: CoreImports, memory: MemoryHelpers): PageReach {
  const page = (kind: Reach): FuncRef<[I64, I32], void> => addPage(module, io, memory, kind);
  return { readPage: page('read'), sourcePage: page('source'), writePage: page('write'), modifyPage: page('modify') };
}

function addPage(module: ModuleBuilder, io: CoreImports, memory: MemoryHelpers, kind: Reach): FuncRef<[I64, I32], void> {
  const f = module.function(`${kind}Page`, ['i64', 'i32'], ['i64', 'i32']);
  const [va, size] = [f.param(0, 'i64'), f.param(1, 'i32')];
  const entry = f.local('i32');
  const host = f.local('i32');
  const { i32, i64 } = f;
  const cpu = (): I32 => f.globalGet(io.cpu);
  const array = kind === 'read' || kind === 'source' ? CPU.offset.tlbRead : CPU.offset.tlbWrite;
  const index = tlbIndex(f, va);
  f.set(entry, i32.add(index, i32.load(cpu(), array)));
  // One compare covers the tag and the page crossing: an address below the page wraps to a huge difference.
  const distance = i64.sub(f.get(va), i64.load(f.get(entry)));
  f.if(f.likely(i64.le_u(distance, i64.extend_i32_u(i32.sub(i32.const(PAGE), f.get(size))))), () =>
    f.return(i64.and(f.get(va), i64.const(-PAGE)), i32.load(f.get(entry), 8)),
  );
  if (kind === 'write') {
    i64.const(NOT_REACHED);
    i32.const(0);
    return f.ref();
  }
  f.set(host, f.call(memory.referenceSafe, f.get(va), f.get(size), i32.const(REFERENCE[kind])));
  f.if(i32.eqz(f.get(host)), () => f.return(i64.const(NOT_REACHED), i32.const(0)));
  const bounced = (): I32 => i32.eq(f.get(host), i32.add(cpu(), i32.const(CPU.offset.scratch)));
  i64.or(i64.and(f.get(va), i64.const(-PAGE)), i64.sub(i64.const(0), i64.extend_i32_u(bounced())));
  i32.sub(f.get(host), i32.wrap_i64(f.get(va)));
  return f.ref();
}
