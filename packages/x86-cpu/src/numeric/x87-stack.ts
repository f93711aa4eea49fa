/**
 * The register stack: routines that do whole instructions on it, less their memory accesses.
 *
 * Each clears the exception word, works, and commits. A register number is relative to the top. Stack faults follow SDM vol. 1
 * §8.5.1.1: IE and SF, C1 telling overflow (1) from underflow (0), the default NaN as masked response.
 */
import type { FuncRef, I32, I64, Local } from '@tsvisor/wasm-codegen';
import { CPU, Seg } from '../state.ts';
import type { Num, Routines } from './x87-kit.ts';
import { bound, DEFAULT_NAN, EXCEPTIONS, Fsw, PRE_OPERATION } from './x87-kit.ts';

export const UNDERFLOW = Fsw.IE | Fsw.SF;
export const OVERFLOW = Fsw.IE | Fsw.SF | Fsw.C1;
export type Commit = FuncRef<[], void>;

/** Operations on the stack, in terms of `Num`. */
export class Stack {
  readonly n: Num;
  readonly #commit: Commit;
  constructor(n: Num, commit: Commit) {
    this.n = n;
    this.#commit = commit;
    n.clearExceptions();
  }
  /** Physical number of ST(i). */
  physical(i: () => I32): Local<I32> {
    const { i32 } = this.n.f;
    return this.n.i32(i32.and(i32.add(this.n.field('ftop'), i()), this.n.c(7)));
  }
  address(physical: Local<I32>): I32 {
    const { i32 } = this.n.f;
    return i32.add(this.n.base(), i32.shl(this.n.g(physical), this.n.c(4)));
  }
  sig(physical: Local<I32>): I64 {
    return this.n.f.i64.load(this.address(physical), CPU.offset.fpr);
  }
  se(physical: Local<I32>): I32 {
    return this.n.f.i32.load16_u(this.address(physical), CPU.offset.fpr + 8);
  }
  /** Writes a register and marks it valid. */
  write(physical: Local<I32>, sig: () => I64, se: () => I32): void {
    const { i32, i64 } = this.n.f;
    i64.store(this.address(physical), sig(), CPU.offset.fpr);
    i64.store(this.address(physical), i64.extend_i32_u(i32.and(se(), this.n.c(0xffff))), CPU.offset.fpr + 8);
    this.n.setField('fempty', () =>
      i32.and(this.n.field('fempty'), i32.xor(i32.shl(this.n.c(1), this.n.g(physical)), this.n.c(-1))),
    );
  }
  writeDefault(physical: Local<I32>): void {
    this.write(
      physical,
      () => this.n.k(DEFAULT_NAN.sig),
      () => this.n.c(DEFAULT_NAN.se),
    );
  }
  /** 1 when the register is empty. */
  empty(physical: Local<I32>): I32 {
    const { i32 } = this.n.f;
    return i32.and(i32.shr_u(this.n.field('fempty'), this.n.g(physical)), this.n.c(1));
  }
  free(physical: Local<I32>): void {
    const { i32 } = this.n.f;
    this.n.setField('fempty', () => i32.or(this.n.field('fempty'), i32.shl(this.n.c(1), this.n.g(physical))));
  }
  move(by: 1 | -1): void {
    const { i32 } = this.n.f;
    this.n.setField('ftop', () => i32.and(i32.add(this.n.field('ftop'), this.n.c(by)), this.n.c(7)));
  }
  pop(): void {
    this.free(this.physical(() => this.n.c(0)));
    this.move(1);
  }
  /** An unmasked exception keeps the instruction from having its result. */
  blocked(flags: number = PRE_OPERATION): I32 {
    const { i32 } = this.n.f;
    return i32.and(this.unmasked(), i32.and(this.n.exceptions(), this.n.c(flags)));
  }
  unmasked(): I32 {
    return this.n.f.i32.xor(this.n.field('fcw'), this.n.c(-1));
  }
  commit(): void {
    this.n.f.call(this.#commit);
  }
  /** Ends the routine of an instruction that had nothing to report. */
  returnClean(): void {
    const { n } = this;
    n.setField('fsw', () => n.f.i32.and(n.field('fsw'), n.c(~Fsw.C1)));
    noteCodeSegment(n);
    n.f.return();
  }
  /**
   * Ends the routine here when nothing but, at most, masked inexactness happened: with the result in a register known to be
   * valid, a pop if asked for, and none of the general case's tests.
   */
  finishUsual(to: Local<I32>, sig: () => I64, pop?: () => I32): void {
    const { n } = this;
    const { i32, i64 } = n.f;
    const flags = n.i32(n.exceptions());
    const harmless = () => i32.or(i32.and(n.field('fcw'), n.c(Fsw.PE)), n.c(Fsw.C1));
    n.f.if(i32.eqz(i32.and(n.g(flags), i32.xor(harmless(), n.c(-1)))), () => {
      i64.store(this.address(to), sig(), CPU.offset.fpr);
      i32.store16(this.address(to), n.se(), CPU.offset.fpr + 8);
      n.setField('fsw', () => i32.or(i32.and(n.field('fsw'), n.c(~Fsw.C1)), n.g(flags)));
      noteCodeSegment(n);
      if (pop) n.f.if(pop(), () => this.pop());
      n.f.return();
    });
  }
  /** Reports a fault: `body` gives the masked response. */
  fault(flags: number, masked: () => void): void {
    this.n.raise(flags);
    this.n.f.if(i32And(this, Fsw.IE), masked);
  }
  return(): void {
    this.commit();
    this.n.f.return();
  }
}
const i32And = (s: Stack, bit: number): I32 => s.n.f.i32.and(s.n.field('fcw'), s.n.c(bit));

/** FCS goes with FIP, which the emitters record. */
const noteCodeSegment = (n: Num): void =>
  n.f.i32.store(n.base(), n.f.i32.load16_u(n.base(), CPU.offset.segSel + 2 * Seg.CS), CPU.offset.fcs);

/** FCOMI and FCMOV clear C1 only where they find a register empty (as measured on the host's AMD processor). */
export function commitKeepingC1(s: Stack): void {
  const { n } = s;
  const { i32 } = n.f;
  const kept = n.i32(i32.and(n.field('fsw'), n.c(Fsw.C1)));
  n.f.if(i32.and(n.exceptions(), n.c(Fsw.SF)), () => n.f.set(kept, n.c(0)));
  s.commit();
  n.setField('fsw', () => i32.or(n.field('fsw'), n.g(kept)));
}

/** Defines an instruction routine. */
export function instruction(
  r: Routines,
  name: string,
  params: readonly ('i32' | 'i64')[],
  body: (s: Stack, n: Num) => void,
): void {
  const commit = r.get<Commit>('x87.commit');
  r.define(name, params, [], (n) => {
    const s = new Stack(n, commit);
    body(s, n);
    s.commit();
  });
}

/** Moves the collected exceptions into the status word, and notes the code segment that goes with FIP. */
export function addCommit(r: Routines): void {
  r.define('x87.commit', [], [], (n) => {
    const { f, c, g } = bound(n);
    const { i32 } = f;
    const flags = n.i32(n.exceptions());
    const unmasked = n.i32(i32.and(i32.xor(n.field('fcw'), c(-1)), c(EXCEPTIONS)));
    // An operation that did not take place has no further exceptions; SF only comes with a stack fault, which is alone anyway.
    f.if(
      i32.and(i32.ne(i32.and(g(flags), i32.and(g(unmasked), c(PRE_OPERATION))), c(0)), i32.eqz(i32.and(g(flags), c(Fsw.SF)))),
      () => f.set(flags, i32.and(g(flags), c(PRE_OPERATION))),
    );
    const status = n.i32(i32.or(i32.and(n.field('fsw'), c(~Fsw.C1)), g(flags)));
    f.if(i32.and(g(status), g(unmasked)), () => f.set(status, i32.or(g(status), c(Fsw.ES | Fsw.B))));
    n.setField('fsw', () => g(status));
    noteCodeSegment(n);
  });
}
