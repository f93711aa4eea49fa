/** Byte encodings of a row: what the form enumerator and the random tests feed on. */
import { decode } from './decoder.ts';
import { DecodeStatus, Insn } from './instruction.ts';
import { XCHG_90 } from './lookup.ts';
import type { OpcodeRow } from './opcodes.ts';
import { Size, Src } from './operand-spec.ts';

/** Random numbers: unsigned 32 bits a call. */
export type Rng = () => number;

/** A small seeded generator (xorshift32): the same seed gives the same encodings everywhere. */
export function xorshift32(seed: number): Rng {
  let state = seed >>> 0 || 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Which ModRM forms to give; both by default. */
export interface EncodingOptions {
  readonly memory?: boolean;
  readonly register?: boolean;
}

const TAIL = 24;
const TRIES = 100;
const PREFIX_BYTE: Readonly<Record<string, number>> = { '66': 0x66, f3: 0xf3, f2: 0xf2 };
const MODE_SIZES = new Set<number>([Size.V, Size.Z, Size.Y, Size.P, Size.A, Size.Qdq, Size.Env, Size.State, 0]);
const insn = new Insn();

/** What distinguishes one encoding from the next, apart from the random part. */
interface Shape {
  readonly op66: boolean;
  readonly addr67: boolean;
  readonly wide: boolean;
  readonly repeat: 0 | 0xf2 | 0xf3;
  readonly lock: boolean;
  readonly memory: boolean;
  readonly long: boolean;
}

/**
 * One encoding, with random registers, addresses and immediates, of every shape the row has in `mode`: operand size (66, REX.W or
 * VEX.W), address size, memory or register form, LOCK, REP/REPNE, vector length. Nothing when the row is invalid in the mode. Each array
 * holds exactly one instruction and decodes to `row`. Call again for other random parts.
 */
export function* encodingsOf(row: OpcodeRow, mode: 16 | 32 | 64, rng: Rng, options: EncodingOptions = {}): Generator<Uint8Array> {
  if (mode === 64 ? row.i64 : row.o64) return;
  for (const shape of shapesOf(row, mode, options)) {
    const bytes = encode(row, mode, shape, rng);
    if (bytes) yield bytes;
  }
}

function shapesOf(row: OpcodeRow, mode: 16 | 32 | 64, options: EncodingOptions): Shape[] {
  const both = [false, true];
  const only = [false];
  const sized = row.specs.length === 0 ? row.map < 2 && row.prefix !== 'np' : row.specs.some((s) => MODE_SIZES.has(s.size));
  const own66 = row.prefix === '66' || row.prefix === 'np' || row.vex;
  const wideMatters = mode === 64 && !row.f64 && (sized || row.vex);
  const memoryForms = formsOf(row, options);
  const shapes: Shape[] = [];
  for (const memory of memoryForms) {
    const addressed =
      memory || row.specs.some((s) => s.src === Src.X || s.src === Src.Y || s.src === Src.Moffs || s.src === Src.Xlat);
    const counted =
      row.rep !== 'no' || row.sem.startsWith('loop') || row.sem === 'jcxz' || row.specs.some((s) => s.size === Size.Addr);
    for (const addr67 of addressed || counted ? both : only) {
      for (const wide of row.vex ? (row.vexW === 1 ? [true] : row.vexW === 0 ? only : both) : wideMatters ? both : only) {
        for (const op66 of sized && !own66 && !wide ? both : only) {
          for (const lock of row.lock && memory ? both : only) {
            for (const repeat of row.rep === 'no'
              ? ([0] as const)
              : row.rep === 'rep'
                ? ([0, 0xf3] as const)
                : ([0, 0xf3, 0xf2] as const)) {
              for (const long of row.vex && row.vexL < 0 ? both : [row.vexL === 1]) {
                shapes.push({ op66, addr67, wide, repeat, lock, memory, long });
              }
            }
          }
        }
      }
    }
  }
  return shapes;
}

/** The ModRM forms asked for that exist: true memory, false register. Rows without ModRM have one form, given unless all are refused. */
function formsOf(row: OpcodeRow, options: EncodingOptions): boolean[] {
  const { memory = true, register = true } = options;
  if (!row.modrm || row.anymod) return register ? [false] : [];
  const needsMemory = row.mod === 'mem' || row.specs.some((s) => s.needs === 'mem');
  const needsRegister = row.mod === 'reg' || row.specs.some((s) => s.needs === 'reg');
  return [...(memory && !needsRegister ? [true] : []), ...(register && !needsMemory ? [false] : [])];
}

/** Draws random parts until the result is this row: some draws name no register, or meet another row of the same opcode. */
function encode(row: OpcodeRow, mode: 16 | 32 | 64, shape: Shape, rng: Rng): Uint8Array | undefined {
  for (let i = 0; i < TRIES; i++) {
    const head = [
      ...prefixesOf(row, mode, shape),
      ...(row.vex ? vexHead(row, mode, shape, rng) : legacyHead(row, mode, shape, rng)),
    ];
    if (row.modrm) head.push(modrmOf(row, shape, rng));
    const bytes = new Uint8Array(head.length + TAIL);
    bytes.set(head);
    for (let j = head.length; j < bytes.length; j++) bytes[j] = rng() >>> 11;
    // Small displacements and immediates as often as random ones.
    if (rng() & 0x100) for (let j = head.length + 2; j < bytes.length; j++) bytes[j] = j & 3 ? 0 : rng() >>> 20;
    if (decode(bytes, 0, bytes.length, mode, insn) === DecodeStatus.Ok && insn.row === row) return bytes.slice(0, insn.length);
  }
  return undefined;
}

function prefixesOf(row: OpcodeRow, _mode: number, shape: Shape): number[] {
  const out: number[] = [];
  if (shape.lock) out.push(0xf0);
  if (shape.addr67) out.push(0x67);
  if (shape.op66) out.push(0x66);
  if (shape.repeat !== 0) out.push(shape.repeat);
  const mandatory = row.vex ? undefined : PREFIX_BYTE[row.prefix];
  if (mandatory !== undefined) out.push(mandatory);
  return out;
}

function escapesOf(row: OpcodeRow): number[] {
  return [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][row.map] ?? [];
}

function legacyHead(row: OpcodeRow, mode: 16 | 32 | 64, shape: Shape, rng: Rng): number[] {
  const out: number[] = [];
  if (mode === 64) {
    // REX is optional without W; an empty one changes AH…BH to SPL…DIL.
    let rex = shape.wide ? 0x48 : 0;
    if (rng() & 0x40) rex |= 0x40 | ((rng() >>> 9) & 7);
    if (row === XCHG_90) rex |= 0x41;
    if (rex !== 0) out.push(rex);
  }
  return [...out, ...escapesOf(row), row.opcode];
}

function vexHead(row: OpcodeRow, mode: 16 | 32 | 64, shape: Shape, rng: Rng): number[] {
  const pp = ['np', '66', 'f3', 'f2'].indexOf(row.prefix);
  const named = row.specs.some((s) => s.src === Src.H || s.src === Src.B);
  const vvvv = named ? (mode === 64 ? rng() >>> 28 : rng() >>> 29) : 0;
  const last = ((~vvvv & 15) << 3) | (shape.long ? 4 : 0) | pp;
  const rxb = mode === 64 ? (rng() >>> 13) & 7 : 0;
  if (row.map === 1 && !shape.wide && (rxb & 3) === 0) return [0xc5, last | (rxb & 4 ? 0 : 0x80), row.opcode];
  return [0xc4, ((~rxb & 7) << 5) | row.map, last | (shape.wide ? 0x80 : 0), row.opcode];
}

function modrmOf(row: OpcodeRow, shape: Shape, rng: Rng): number {
  const random = rng() >>> 16;
  const reg = row.reg >= 0 ? row.reg : (random >> 3) & 7;
  const rm = row.rm >= 0 ? row.rm : row.vsib ? 4 : random & 7;
  const mod = shape.memory ? ((random >> 6) & 15) % 3 : 3;
  return (mod << 6) | (reg << 3) | rm;
}
