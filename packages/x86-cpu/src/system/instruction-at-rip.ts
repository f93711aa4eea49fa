/** The instruction at RIP, decoded again: for what only a fault or a refusal has to know of it. */
import { DecodeStatus, decode, Insn, OperandKind } from '../decode/insn.ts';
import { codeSize, is64Bit } from '../records/mode-key.ts';
import { Reg, Seg } from '../state.ts';
import { GuestFault, type SystemContext } from './context.ts';

export class InstructionAtRip {
  readonly #context: SystemContext;
  readonly #insn = new Insn();

  constructor(context: SystemContext) {
    this.#context = context;
  }

  /** False if its bytes cannot be read. */
  #decode(): boolean {
    const c = this.#context;
    const bytes = new Uint8Array(15);
    let length = 0;
    try {
      for (; length < 15; length++)
        bytes[length] = Number(c.read(c.wrap(c.state.rip + c.state.segBase[Seg.CS] + BigInt(length)), 1));
    } catch (e) {
      if (!(e instanceof GuestFault)) throw e;
    }
    return decode(bytes, 0, length, codeSize(c.state.modeKey), this.#insn) === DecodeStatus.Ok;
  }

  /** Whether its access that faulted was through SS: a push or pop, or a memory operand based on RSP or RBP. */
  get usesStack(): boolean {
    if (!this.#decode()) return false;
    const { row, seg, kind, operandCount } = this.#insn;
    const { state } = this.#context;
    // The stack pointer wraps where the mode's addresses do.
    const bits = is64Bit(state.modeKey) ? 64 : 32;
    const near = (register: number): boolean => BigInt.asUintN(bits, state.scratchVa - state.gpr[register] + 64n) < 128n;
    const memory = kind.some((k, n) => n < operandCount && (k === OperandKind.Mem || k === OperandKind.Moffs));
    // A string instruction's other operand is in ES.
    if (memory && seg === Seg.SS) return row.rep === 'no' || near(Reg.RSI);
    if (!/^(push|pop|call|ret|enter|leave|iret)/.test(row.sem)) return false;
    // With a memory operand too (PUSH, POP, CALL), the stack's access is the one near the stack pointer.
    return !memory || near(Reg.RSP);
  }

  get name(): string {
    return this.#decode() ? `'${this.#insn.row.mnemonic}'` : '(unreadable)';
  }

  /** CS:RIP. */
  get place(): string {
    const { state } = this.#context;
    return `${state.segSel[Seg.CS].toString(16)}:${state.rip.toString(16)}`;
  }
}
