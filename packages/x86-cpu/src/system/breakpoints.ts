/**
 * Breakpoints of the debug registers (SDM vol. 3 §18.2–18.3). While one is enabled the processor runs instruction by instruction, and data
 * accesses find no translation: every access says where it goes. Nothing of that costs anything otherwise.
 */
import { Rflags, Seg } from '../state.ts';
import type { SystemContext } from './context.ts';
import { Cr4 } from './context.ts';

/** DR7's R/W fields: the accesses that a breakpoint is for. */
const Kind = { Execute: 0, Write: 1, Port: 2, Access: 3 } as const;
/** DR7's LEN fields. */
const LENGTHS = [1, 2, 8, 4] as const;
/** DR7.GD: accesses to debug registers are exceptions; DR6.BD says that one was. */
const DR7_GD = 1n << 13n;
const DR6_BD = 1n << 13n;

type Breakpoint = { readonly n: number; readonly kind: number; readonly address: bigint; readonly length: number };

export class Breakpoints {
  readonly #c: SystemContext;
  #enabled: readonly Breakpoint[] = [];
  /** DR6 bits of what the current instruction has accessed. */
  #hits = 0n;

  constructor(c: SystemContext) {
    this.#c = c;
  }

  /** Some breakpoint is enabled. */
  get armed(): boolean {
    return this.#enabled.length > 0;
  }

  /** Some of them are for data. */
  get onData(): boolean {
    return this.#enabled.some(({ kind }) => kind === Kind.Write || kind === Kind.Access);
  }

  /** Takes over DR0–3 and DR7; call when one has changed, or CR4.DE. */
  update(): void {
    const c = this.#c;
    const { state } = c;
    const dr7 = Number(state.dr[7] & 0xffff_ffffn);
    const enabled: Breakpoint[] = [];
    for (let n = 0; n < 4; n++) {
      if (!(dr7 & (3 << (2 * n)))) continue;
      const field = dr7 >>> (16 + 4 * n);
      const kind = field & 3;
      // Without CR4.DE R/W = 2 is undefined: it is for nothing here (§18.2.4).
      if (kind === Kind.Port && !(c.lo('cr4') & Cr4.DE)) continue;
      const length = kind === Kind.Execute ? 1 : LENGTHS[(field >> 2) & 3];
      // The address is that of an aligned range (§18.2.5).
      enabled.push({ n, kind, length, address: state.dr[n] & ~BigInt(length - 1) });
    }
    const was = this.armed;
    this.#enabled = enabled;
    if (was || this.armed) c.updateMode();
  }

  /** An instruction accesses memory or a port. */
  note(address: bigint, size: number, kind: 'read' | 'write' | 'port'): void {
    for (const b of this.#enabled) {
      const concerns =
        kind === 'port' ? b.kind === Kind.Port : b.kind === Kind.Access || (b.kind === Kind.Write && kind === 'write');
      if (concerns && address < b.address + BigInt(b.length) && b.address < address + BigInt(size))
        this.#hits |= 1n << BigInt(b.n);
    }
  }

  /** Forgets what an instruction accessed that did not complete. */
  forget(): void {
    this.#hits = 0n;
  }

  /** DR6 bits of the accesses since the last call: a trap after the instruction. */
  take(): bigint {
    const hits = this.#hits;
    this.#hits = 0n;
    return hits;
  }

  /** DR6 bits of the breakpoints on the instruction at CS:RIP: a fault before it, unless RF is set. */
  atInstruction(): bigint {
    const { state } = this.#c;
    if (state.rflags & Rflags.RF) return 0n;
    const linear = this.#c.wrap(state.modeKey & 2 ? state.rip : state.rip + state.segBase[Seg.CS]);
    let bits = 0n;
    for (const b of this.#enabled) if (b.kind === Kind.Execute && b.address === linear) bits |= 1n << BigInt(b.n);
    return bits;
  }

  /** Whether DR7.GD forbids an access to a debug register. DR6 then says so, and the handler of the #DB may use them (§18.2.4). */
  guards(): boolean {
    const { state } = this.#c;
    if (!(state.dr[7] & DR7_GD)) return false;
    state.dr[6] |= DR6_BD;
    state.dr[7] &= ~DR7_GD;
    return true;
  }
}
