/** Makes random programs: instructions of all kinds in blocks, with branches, calls, loops, tables and stores into the program itself. */
import { decode } from '../../src/decode/decoder.ts';
import { BASE_RIP, DecodeStatus, Insn, OperandKind } from '../../src/decode/instruction.ts';
import { Seg } from '../../src/state.ts';
import { displacementIndex } from '../host-oracle/operand-bytes.ts';
import { Random } from '../host-oracle/random.ts';
import {
  CODE_BYTES,
  COUNTERS,
  DATA_BYTES,
  FRAME,
  FRAME_2,
  PAGE,
  Place,
  Selector,
  SOFTWARE_INTERRUPT,
  STACK_TOP,
  TABLE,
} from './places.ts';
import type { Pool } from './pool.ts';
import { poolOf } from './pool.ts';
import type { Fixup, Item, Program, ProgramBlock } from './program.ts';

const BIT_STRINGS = new Set('bt bts btr btc'.split(' '));
/** Point to the stack and to data, and mostly stay there. */
const POINTERS = [4, 5, 13];
/** Instructions a program runs. */
const FUEL = 2000;
const le = (value: number, bytes: number): number[] => Array.from({ length: bytes }, (_, n) => (value >> (8 * n)) & 0xff);

export type GeneratorOptions = {
  readonly maxBlocks?: number | undefined;
  readonly fuel?: number | undefined;
  /** Percent of stores that may hit the program itself. */
  readonly selfModifying?: number | undefined;
};

class Generator {
  readonly #random: Random;
  readonly #mode: 32 | 64;
  readonly #cpl: 0 | 3;
  readonly #pool: Pool;
  readonly #insn = new Insn();
  readonly #blocks: number;
  readonly #seed: number;
  readonly #options: GeneratorOptions;
  readonly #vectors: number;
  readonly #fsBase: number;
  readonly #gsBase: number;
  #labels = 0;
  readonly #labelled: number[] = [];

  constructor(seed: number, options: GeneratorOptions) {
    const random = new Random(seed);
    this.#random = random;
    this.#seed = seed;
    this.#options = options;
    this.#mode = random.chance(70) ? 64 : 32;
    this.#cpl = random.chance(50) ? 3 : 0;
    this.#pool = poolOf(this.#mode);
    this.#blocks = 3 + random.below(random.chance(30) ? (options.maxBlocks ?? 40) : 12);
    this.#vectors = random.pick([0, 5, 20, 60]);
    this.#fsBase = random.chance(50) ? 0 : Place.data + random.below(PAGE);
    this.#gsBase = random.chance(50) ? 0 : Place.data + 8 * random.below(100);
  }

  make(): Program {
    const random = this.#random;
    const gpr = new BigUint64Array(16);
    const wide = this.#mode === 64;
    for (let n = 0; n < (wide ? 16 : 8); n++) gpr[n] = wide ? random.value() : BigInt.asUintN(32, random.value());
    const xmm = new BigUint64Array(32);
    for (let n = 0; n < 32; n++) xmm[n] = random.chance(50) ? random.value() : 0x3ff0_0000_3f80_0000n + BigInt(random.u32());
    const blocks: ProgramBlock[] = [];
    // The second half may be in the second page, and the end beyond what is mapped.
    const split = random.chance(25) ? this.#blocks >> 1 : -1;
    let falls = false;
    for (let n = 0; n < this.#blocks; n++) {
      const items = this.#body();
      const end = this.#terminator(n);
      if (n === split && !falls) {
        blocks.push({
          gap: 0,
          from: random.chance(70) ? PAGE + random.below(0x400) : CODE_BYTES - random.below(60),
          items: [...items, ...end.items],
        });
        falls = end.falls;
        continue;
      }
      const gap = falls ? 0 : random.chance(5) ? random.below(0x600) : random.chance(20) ? random.below(20) : 0;
      blocks.push({ gap, items: [...items, ...end.items] });
      falls = end.falls;
    }
    if (falls) blocks.push({ gap: 0, items: [this.#jump(random.below(this.#blocks))] });
    return {
      seed: this.#seed,
      mode: this.#mode,
      cpl: this.#cpl,
      offset: random.chance(25) ? PAGE - random.below(200) : random.below(CODE_BYTES - 0x600),
      blocks,
      gpr,
      rflags: (random.u32() & 0x8d5) | (random.chance(60) ? 0x200 : 0) | (random.chance(10) ? 0x400 : 0),
      xmm,
      data: random.bytes(DATA_BYTES),
      fuel: this.#options.fuel ?? FUEL,
      fsBase: this.#fsBase,
      gsBase: this.#gsBase,
      // Now and then stack and data are in the pages of the code.
      stackTop: random.chance(10) ? this.#code() & -4 : STACK_TOP,
      frame: random.chance(8) ? this.#code() & -16 : FRAME,
      frame2: random.chance(8) ? this.#code() & -16 : FRAME_2,
    };
  }

  #body(): Item[] {
    const random = this.#random;
    const count = random.below(random.chance(10) ? 60 : 9);
    const items: Item[] = [];
    for (let n = 0; n < count; n++) items.push(...this.#item());
    return items;
  }

  #item(): Item[] {
    const random = this.#random;
    const roll = random.below(1000);
    if (roll < 30) return this.#string();
    if (roll < 50) return [this.#flagsItem()];
    if (roll < 60) return [{ bytes: [0xcd, random.chance(80) ? SOFTWARE_INTERRUPT : 0x30] }];
    if (roll < 66 && this.#cpl === 0) return [{ bytes: random.pick([[0xfa], [0xfb], [0xfb, 0xfb], [0xe4, 0x70], [0xe6, 0x70]]) }];
    if (roll < 66 + (this.#options.selfModifying ?? 15)) return this.#selfModifying();
    if (roll < 90) return [this.#labelledItem()];
    if (roll < 100) return this.#systemItem();
    if (roll < 120) return [{ bytes: this.#advance() }];
    if (random.chance(this.#vectors)) return this.#drawn(this.#pool.vector);
    return this.#drawn(random.chance(85) ? this.#pool.common : this.#pool.integer);
  }

  /** An instruction whose immediate others change. */
  #labelledItem(): Item {
    const random = this.#random;
    const label = this.#labels++;
    this.#labelled.push(label);
    return { bytes: [0x81, 0xc0 | (random.below(8) * 8) | this.#freeRegister(), ...le(random.u32(), 4)], label, labelAt: 2 };
  }

  /** Segments and page tables loaded anew, stack frames, all registers on the stack. */
  #systemItem(): Item[] {
    const random = this.#random;
    const wide = this.#mode === 64;
    switch (random.below(this.#cpl === 0 ? 6 : 4)) {
      case 3: {
        // Branches of 16 bits: outside 64-bit mode they cut the instruction pointer.
        const [near, far] = [random.below(40) & 0xff, [...le(random.below(300), 2)]];
        const short = random.pick([0xeb, 0xe2, 0xe3, 0x70 | random.below(16)]);
        return [{ bytes: [0x66, ...random.pick([[short, near], [short, near], [0xe8, ...far], [0xe9, ...far], [0xc3]])] }];
      }
      case 0:
        return [
          { bytes: random.pick([[0xc8, random.below(64), 0, random.below(3)], [0xc9], ...(wide ? [] : [[0x60], [0x61]])]) },
        ];
      case 1:
      case 2: {
        // MOV to ES, SS, DS, FS or GS.
        const selector = random.chance(90) ? (this.#cpl === 3 ? Selector.userData : Selector.data) : random.below(0x50);
        return [{ bytes: [0xb8, ...le(selector, 4)] }, { bytes: [0x8e, 0xc0 | (random.pick([0, 2, 2, 2, 3, 4, 5]) << 3)] }];
      }
      case 4:
        // The other page tables exchange the two pages of data.
        return [{ bytes: [0xb8, ...le(random.pick([Place.pml4, Place.otherPml4]), 4)] }, { bytes: [0x0f, 0x22, 0xd8] }];
      default:
        return [{ bytes: [0x0f, 0x01, ...(wide ? [0x3c, 0x25] : [0x3d]), ...le(this.#target(1), 4)] }];
    }
  }

  /** EAX, ECX, EDX, EBX, ESI or EDI. */
  #freeRegister(): number {
    return this.#random.pick([0, 1, 2, 3, 6, 7]);
  }

  /** Moves a pointer on: loops walk into whatever comes. */
  #advance(): number[] {
    const random = this.#random;
    const stride = random.pick([1, -1, 4, -4, 8, -8, 16, 64]) & 0xff;
    if (this.#mode === 64) return random.chance(50) ? [0x48, 0x8d, 0x6d, stride] : [0x4d, 0x8d, 0x6d, stride];
    return [0x8d, 0x6d, stride];
  }

  #flagsItem(): Item {
    const random = this.#random;
    switch (random.below(5)) {
      case 0: {
        // POPF of an image; single steps seldom.
        const image = (random.u32() & 0x8d5) | (random.u32() & 0x600) | (random.chance(3) ? 0x100 : 0);
        return { bytes: [0x68, ...le(image, 4), 0x9d] };
      }
      case 1:
        return { bytes: [0x9c, 0x58 | this.#freeRegister()] };
      case 2:
        return { bytes: [0x9f] };
      case 3:
        return { bytes: [0x9e] };
      default:
        return { bytes: [0x9c, 0x9d] };
    }
  }

  /** A store into the program: into a labelled instruction, often the one that follows, or anywhere. */
  #selfModifying(): Item[] {
    const random = this.#random;
    const next = random.chance(30) ? [this.#labelledItem()] : [];
    const label = next[0]?.label ?? (this.#labelled.length > 0 && random.chance(90) ? random.pick(this.#labelled) : undefined);
    return [this.#storeTo(label === undefined ? { address: this.#code() } : { label }), ...next];
  }

  #storeTo(to: Fixup['to']): Item {
    const random = this.#random;
    const wide = this.#mode === 64;
    const rip = wide && random.chance(50);
    const kind = rip ? 'rip32' : 'abs32';
    const modrm = (reg: number): number[] => (rip || !wide ? [(reg * 8) | 5] : [(reg * 8) | 4, 0x25]);
    const make = (head: number[], reg: number, tail: number[]): Item => {
      const bytes = [...head, ...modrm(reg), 0, 0, 0, 0, ...tail];
      const at = bytes.length - tail.length - 4;
      return { bytes, fixups: [{ kind, at, end: bytes.length, to }] };
    };
    switch (random.below(4)) {
      case 0:
        return make([0x88], random.below(8), []);
      case 1:
        return make([0xfe], random.below(2), []);
      case 2:
        return make([0x89], this.#freeRegister(), []);
      default:
        return make([0x80], random.below(8), [random.below(256)]);
    }
  }

  /** String instructions with pointers and a count that mean something. */
  #string(): Item[] {
    const random = this.#random;
    const [drawn] = this.#raw(this.#pool.string);
    if (!drawn) return [];
    const size = 4;
    const items: Item[] = [];
    const mov = (reg: number, value: number): void => void items.push({ bytes: [0xb8 | reg, ...le(value, size)] });
    if (random.chance(85)) mov(6, this.#target(8));
    if (random.chance(85)) mov(7, this.#target(8));
    if (random.chance(90)) mov(1, random.chance(90) ? random.below(30) : random.below(3000));
    if (random.chance(10)) items.push({ bytes: [random.chance(50) ? 0xfd : 0xfc] });
    return [...items, { bytes: [...drawn] }];
  }

  #raw(from: readonly (readonly Uint8Array[])[]): Uint8Array[] {
    const random = this.#random;
    const insn = this.#insn;
    const drawn = random.pick(random.pick(from));
    const bytes = random.chance(5)
      ? Uint8Array.of(random.pick([0x64, 0x65, 0x64, 0x65, 0x36, 0x3e, 0x2e]), ...drawn)
      : drawn.slice();
    return decode(bytes, 0, bytes.length, this.#mode, insn) === DecodeStatus.Ok ? [bytes] : [];
  }

  /** An instruction with its operands, where they can be, in reach. */
  #drawn(from: readonly (readonly Uint8Array[])[]): Item[] {
    for (;;) {
      const [bytes] = this.#raw(from);
      if (!bytes || !this.#suits()) continue;
      const aimed = this.#aimed(bytes);
      if (aimed) return aimed;
    }
  }

  #suits(): boolean {
    const random = this.#random;
    const insn = this.#insn;
    if (insn.row.vsib || (insn.addrSize === 2 && insn.modrm < 0xc0)) return random.chance(2);
    for (let n = 0; n < insn.operandCount; n++) {
      if (insn.kind[n] === OperandKind.Gpr && POINTERS.includes(insn.reg[n]) && !random.chance(insn.reg[n] === 4 ? 1 : 4))
        return false;
      if (insn.kind[n] === OperandKind.Moffs && !random.chance(20)) return false;
    }
    return true;
  }

  /** Sees to it that a memory operand is somewhere; undefined to draw again. */
  #aimed(bytes: Uint8Array): Item[] | undefined {
    const random = this.#random;
    const insn = this.#insn;
    const { sem } = insn.row;
    const items: Item[] = [];
    const mov = (reg: number, value: number): void => {
      const rex = reg > 7 ? [0x41] : [];
      items.push({ bytes: [...rex, 0xb8 | (reg & 7), ...le(value, 4)] });
    };
    if ((sem === 'div' || sem === 'idiv') && random.chance(60)) {
      if (insn.size[0] === 1) items.push({ bytes: [0xb4, random.below(3)] });
      else mov(2, random.below(2));
    }
    const memory = insn.modrm >= 0 && insn.modrm < 0xc0 && sem !== 'lea' && sem !== 'nop';
    if (!memory || insn.addrSize === 2) return [...items, { bytes: [...bytes] }];
    const size = Math.max(insn.size[0], insn.size[1], 1);
    const target = this.#target(size) - (insn.seg === Seg.FS ? this.#fsBase : insn.seg === Seg.GS ? this.#gsBase : 0);
    const at = displacementIndex(insn, bytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    if (BIT_STRINGS.has(sem) && insn.kind[1] === OperandKind.Gpr && random.chance(90)) mov(insn.reg[1], random.below(4000));
    if (insn.base === BASE_RIP) {
      const fixup: Fixup = { kind: 'rip32', at, end: bytes.length, to: { address: target } };
      return [...items, { bytes: [...bytes], fixups: [fixup] }];
    }
    if (insn.base < 0 && insn.index < 0) view.setInt32(at, target, true);
    else if (POINTERS.includes(insn.base) && insn.index < 0) {
      if (insn.modrm >> 6 === 1 && size >= 16) bytes[at] &= 0xf0;
      if (insn.modrm >> 6 === 2) view.setInt32(at, (random.below(0x600) - 0x300) & (size >= 16 ? -16 : -1), true);
    } else if (!random.chance(6)) {
      const index = insn.index >= 0 ? random.below(64) : 0;
      if (insn.index >= 0 && POINTERS.includes(insn.index)) return undefined;
      if (insn.index >= 0) mov(insn.index, index);
      const rest = target - (index << insn.scale);
      if (insn.base < 0) view.setInt32(at, rest, true);
      else if (insn.base === insn.index || POINTERS.includes(insn.base)) return undefined;
      else mov(insn.base, rest - insn.disp);
    }
    return [...items, { bytes: [...bytes] }];
  }

  #code(): number {
    return Place.code + this.#random.below(CODE_BYTES);
  }

  /** An address of `size` bytes: mostly data, often at an edge, seldom where it faults. */
  #target(size: number): number {
    const random = this.#random;
    const roll = random.below(100);
    const even = size >= 16 && random.chance(95) ? -16 : -1;
    if (roll < 78) return (Place.data + 0x80 + random.below(DATA_BYTES - 0x80 - size)) & even;
    if (roll < 86) return (Place.data + PAGE - size + random.below(size)) & even;
    if (roll < 88) return (Place.data + DATA_BYTES - random.below(size + 1)) & even;
    if (roll < 90) return Place.readOnly + random.below(PAGE - size);
    if (roll < 93) return (STACK_TOP - random.below(64)) & even;
    if (roll < 95) return Place.device + random.below(PAGE - size);
    if (roll < 97) return COUNTERS + 4 * random.below(8);
    if (roll < 98) return random.pick([Place.gdt, Place.log, Place.data - 4, Place.stack + PAGE - 2, 0x7fff_fffc, -4]);
    return random.chance(this.#options.selfModifying ?? 15) ? this.#code() : Place.data;
  }

  #jump(to: number): Item {
    return { bytes: [0xe9, 0, 0, 0, 0], fixups: [{ kind: 'rel32', at: 1, end: 5, to: { block: to } }] };
  }
  #jcc(cc: number, to: number): Item {
    return { bytes: [0x0f, 0x80 | cc, 0, 0, 0, 0], fixups: [{ kind: 'rel32', at: 2, end: 6, to: { block: to } }] };
  }

  /** How block `n` ends. */
  #terminator(n: number): { items: Item[]; falls: boolean } {
    const random = this.#random;
    const any = (): number => random.below(this.#blocks);
    const back = (): number => Math.max(0, n - random.below(4));
    const ahead = (): number => Math.min(this.#blocks - 1, n + 1 + random.below(4));
    const roll = random.below(100);
    if (roll < 25) return { items: [this.#jcc(random.below(16), random.chance(60) ? ahead() : any())], falls: true };
    if (roll < 45) return { items: [...this.#countDown(), this.#jcc(random.pick([5, 5, 5, 15, 13]), back())], falls: true };
    if (roll < 55) return { items: [], falls: true };
    if (roll < 63) return { items: [this.#jump(random.chance(70) ? ahead() : any())], falls: false };
    if (roll < 73) {
      return { items: [{ ...this.#jump(any()), bytes: [0xe8, 0, 0, 0, 0] }], falls: true };
    }
    if (roll < 83) return { items: [{ bytes: random.chance(90) ? [0xc3] : [0xc2, random.pick([0, 4, 8]), 0] }], falls: false };
    if (roll < 91) return { items: this.#indirect(any()), falls: roll >= 87 };
    if (roll < 97) {
      // LOOP and JRCXZ reach 127 bytes only: over a jump.
      const jump = this.#jump(back());
      const fixups = (jump.fixups ?? []).map((one) => ({ ...one, at: one.at + 4, end: one.end + 4 }));
      return { items: [{ bytes: [0xe0 | random.below(4), 0x02, 0xeb, 0x05, ...jump.bytes], fixups }], falls: true };
    }
    if (roll < 98) return { items: [{ bytes: [0x0f, 0x0b] }], falls: false };
    if (roll < 99 && this.#cpl === 0) return { items: [{ bytes: random.chance(30) ? [0xfb, 0xf4] : [0xf4] }], falls: true };
    return { items: [this.#jcc(random.below(16), n)], falls: true };
  }

  #countDown(): Item[] {
    const random = this.#random;
    if (random.chance(40)) {
      const reg = this.#freeRegister();
      return [{ bytes: random.chance(50) ? [0x83, 0xe8 | reg, 1] : this.#mode === 64 ? [0x48, 0xff, 0xc8 | reg] : [0x48 | reg] }];
    }
    // The byte counter goes round in 256.
    const counter = COUNTERS + 4 * random.below(8);
    const modrm = this.#mode === 64 ? [0x0c, 0x25] : [0x0d];
    return [{ bytes: [0xfe, ...modrm, ...le(counter, 4)] }];
  }

  /** JMP or CALL through the table, or through a register. */
  #indirect(to: number): Item[] {
    const random = this.#random;
    const reg = this.#freeRegister();
    const op = random.chance(50) ? 4 : 2;
    if (random.chance(40))
      return [
        { bytes: [0xb8 | reg, 0, 0, 0, 0], fixups: [{ kind: 'abs32', at: 1, end: 5, to: { block: to } }] },
        { bytes: [0xff, 0xc0 | (op * 8) | reg] },
      ];
    return [{ bytes: [0x83, 0xe0 | reg, 0x07] }, { bytes: [0xff, 0x04 | (op * 8), 0xc5 | (reg * 8), ...le(TABLE, 4)] }];
  }
}

/** The program of a seed: the same one every time. */
export const makeProgram = (seed: number, options: GeneratorOptions = {}): Program => new Generator(seed, options).make();
