/** Operands of system instructions, read from their interpreter records. */

import { Vector } from '../core/memory.ts';
import { operandSlot } from '../emit/interpreter.ts';
import type { Form } from '../form.ts';
import { AddressMode } from '../form.ts';
import { is64Bit } from '../records/mode-key.ts';
import { Record, Seg } from '../state.ts';
import type { SystemContext } from './context.ts';
import { fault } from './context.ts';

export class RecordOperands {
  readonly #c: SystemContext;
  readonly #data: DataView;
  record = 0;
  form!: Form;

  constructor(c: SystemContext, memory: WebAssembly.Memory) {
    this.#c = c;
    this.#data = new DataView(memory.buffer);
  }

  /** Points at the record of the instruction to run. */
  at(record: number, form: Form): void {
    this.record = record;
    this.form = form;
  }

  u32(offset: number): number {
    return this.#data.getUint32(this.record + offset, true);
  }
  i32(offset: number): number {
    return this.#data.getInt32(this.record + offset, true);
  }
  u8(offset: number): number {
    return this.#data.getUint8(this.record + offset);
  }

  /** RIP of the next instruction. */
  get nextRip(): bigint {
    const place = this.#data.getUint16(this.record + Record.place, true);
    return this.#cut(this.#c.state.pageRip + BigInt((place & 0xfff) + (place >> 12)));
  }
  get thisRip(): bigint {
    const place = this.#data.getUint16(this.record + Record.place, true);
    return this.#cut(this.#c.state.pageRip + BigInt(place & 0xfff));
  }
  #cut(rip: bigint): bigint {
    return this.#c.wrap(rip);
  }

  immediate(n: number): number {
    return this.i32(operandSlot(this.form, n));
  }

  /** Register operand `n`, zero-extended from `size` bytes. */
  register(n: number, size: number): bigint {
    const address = this.u32(operandSlot(this.form, n));
    const value = size === 1 ? BigInt(this.#data.getUint8(address)) : this.#data.getBigUint64(address - (address & 7), true);
    return size === 1 ? value : BigInt.asUintN(8 * size, value);
  }

  setRegister(n: number, size: number, value: bigint): void {
    const address = this.u32(operandSlot(this.form, n));
    if (size === 1) this.#data.setUint8(address, Number(value & 0xffn));
    else if (size === 2) this.#data.setUint16(address, Number(value & 0xffffn), true);
    else this.#data.setBigUint64(address, BigInt.asUintN(8 * size, value), true);
  }

  /** Linear address of the memory operand, `bytes` long, checked through its segment. */
  address(bytes: number, write: boolean, displacement = 0): bigint {
    const c = this.#c;
    const linear = this.linear(bytes, write, displacement);
    const outside = is64Bit(c.state.modeKey) && !(c.canonical(linear) && c.canonical(linear + BigInt(bytes - 1)));
    return outside ? fault(this.u8(Record.segment) === Seg.SS ? Vector.SS : Vector.GP, 0) : linear;
  }

  /** The same where an address that is not canonical is no fault (INVLPG). */
  linear(bytes: number, write: boolean, displacement = 0): bigint {
    const slot = (offset: number): bigint => this.#data.getBigUint64(this.u32(offset), true);
    const disp = BigInt(this.i32(Record.disp) + displacement);
    if (this.form.address === AddressMode.Base) return BigInt.asUintN(64, slot(Record.base) + disp);
    if (this.form.address === AddressMode.Absolute)
      return BigInt.asUintN(64, this.#data.getBigUint64(this.record + Record.imm, true) + slot(Record.index));
    const sum = slot(Record.base) + (slot(Record.index) << BigInt(this.u8(Record.scale))) + disp;
    const offset = BigInt.asUintN(64 - this.u8(Record.shift), sum);
    const segment = this.u8(Record.segment);
    if (this.form.address !== AddressMode.Indexed) return segmentLinear(this.#c, segment, offset, bytes, write);
    // A flat segment ends at 4 GiB all the same.
    const beyond = !is64Bit(this.#c.state.modeKey) && offset + BigInt(bytes) > 0x1_0000_0000n;
    return beyond ? fault(segment === Seg.SS ? Vector.SS : Vector.GP, 0) : offset;
  }

  /** Operand `n`, register or memory. */
  read(n: number, size = this.form.sizes[n]): bigint {
    return this.form.classes[n] === 'm' ? this.#c.read(this.address(size, false), size) : this.register(n, size);
  }
  write(n: number, value: bigint, size = this.form.sizes[n]): void {
    if (this.form.classes[n] === 'm') this.#c.write(this.address(size, true), size, BigInt.asUintN(8 * size, value));
    else this.setRegister(n, size, value);
  }
}

/** Linear address of an offset in a segment, with limit and rights checks outside 64-bit mode (SDM vol. 3 §5.3). */
export function segmentLinear(c: SystemContext, seg: number, offset: bigint, bytes: number, write: boolean): bigint {
  const { state } = c;
  if (is64Bit(state.modeKey)) return BigInt.asUintN(64, seg >= Seg.FS ? offset + state.segBase[seg] : offset);
  const attr = state.segAttr[seg];
  const last = offset + BigInt(bytes - 1);
  // As generated code has it (core/memory.ts, `segmentOffset`).
  const whole = seg >= Seg.FS && state.segLimit[seg] === 0xffff_ffff;
  const outside = offset < BigInt(state.segLow[seg]) || (last > BigInt(state.segLimit[seg]) && !whole);
  const type = attr & 0xa;
  if (attr === 0 || outside || (write ? type !== 2 : type === 8)) fault(seg === Seg.SS ? Vector.SS : Vector.GP, 0);
  return (offset + state.segBase[seg]) & 0xffff_ffffn;
}

/** A stack in use by a helper: pushes and pops without touching RSP until `commit`. */
export class StackCursor {
  readonly #c: SystemContext;
  readonly #size: number;
  pointer: bigint;

  constructor(c: SystemContext, size: number) {
    this.#c = c;
    this.#size = size;
    this.pointer = c.state.gpr[4];
  }

  #offset(by: number): bigint {
    const mask = this.#c.state.stackMask;
    return (this.pointer + BigInt(by)) & mask;
  }

  /** In 64-bit mode a stack access outside the canonical addresses is #SS, where any other is #GP (SDM vol. 3 §6.15). */
  #linear(by: number, size: number, write: boolean): bigint {
    const c = this.#c;
    const offset = this.#offset(by);
    const outside = is64Bit(c.state.modeKey) && !(c.canonical(offset) && c.canonical(offset + BigInt(size - 1)));
    if (outside) fault(Vector.SS, 0);
    return segmentLinear(c, Seg.SS, offset, size, write);
  }

  pop(size = this.#size): bigint {
    const value = this.#c.read(this.#linear(0, size, false), size);
    this.move(size);
    return value;
  }

  push(value: bigint, size = this.#size): void {
    this.#c.write(this.#linear(-size, size, true), size, BigInt.asUintN(8 * size, value));
    this.move(-size);
  }

  move(by: number): void {
    const mask = this.#c.state.stackMask;
    this.pointer = (this.pointer & ~mask) | this.#offset(by);
  }

  commit(): void {
    this.#c.state.gpr[4] = BigInt.asUintN(64, this.pointer);
  }
}
