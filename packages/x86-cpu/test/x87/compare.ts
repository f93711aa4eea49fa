/** Runs cases on the host and on the routines, and says where they differ. */
import type { Case } from './cases.ts';
import type { openHost } from './host.ts';
import { Rec } from './host.ts';
import type { Machine } from './machine.ts';
import { fillState, Random } from './operands.ts';

const hex = (v: number | bigint, n: number): string => v.toString(16).padStart(n, '0');

/** Readable state of a record: control and status word, empty registers, ST(0), ST(1), ST(7), memory, RFLAGS. */
export function describeRecord(v: DataView): string {
  const st = (i: number): string => `${hex(v.getUint16(36 + 10 * i, true), 4)}:${hex(v.getBigUint64(28 + 10 * i, true), 16)}`;
  const memory = Buffer.from(v.buffer, v.byteOffset + Rec.memory, Rec.memorySize).toString('hex');
  const words = [0, 4, 8].map((at) => hex(v.getUint16(at, true), 4)).join(' ');
  return `cw/sw/tw ${words} st ${[0, 1, 2, 3, 7].map(st).join(' ')} mem ${memory} fl ${hex(v.getUint32(Rec.rflags, true), 4)}`;
}

/** Register contents as far as they are defined: tags of non-empty registers say only that. */
function simplifyTags(v: DataView): void {
  let tags = v.getUint16(8, true);
  for (let i = 0; i < 8; i++) if (((tags >> (2 * i)) & 3) !== 3) tags &= ~(3 << (2 * i));
  v.setUint32(8, tags, true);
}

/** Lets registers that differ by one unit in the last place, and C1, be equal: what transcendental functions may differ in. */
function tolerate(theirs: DataView, ours: DataView): void {
  theirs.setUint16(4, (theirs.getUint16(4, true) & ~0x200) | (ours.getUint16(4, true) & 0x200), true);
  for (let i = 0; i < 8; i++) {
    const value = (v: DataView): bigint =>
      (BigInt(v.getUint16(36 + 10 * i, true) & 0x7fff) << 63n) + (v.getBigUint64(28 + 10 * i, true) & ~(1n << 63n));
    const [a, b] = [value(theirs), value(ours)];
    if (a - b > 1n || b - a > 1n || (theirs.getUint8(37 + 10 * i) ^ ours.getUint8(37 + 10 * i)) & 0x80) continue;
    theirs.setBigUint64(28 + 10 * i, ours.getBigUint64(28 + 10 * i, true), true);
    theirs.setUint16(36 + 10 * i, ours.getUint16(36 + 10 * i, true), true);
  }
}

export type Difference = { readonly name: string; readonly text: string };

export function compareCases(
  host: ReturnType<typeof openHost>,
  machine: Machine,
  list: readonly Case[],
  perCase: number,
  seed: number,
): Difference[] {
  const random = new Random(seed);
  const records = new Uint8Array(list.length * perCase * Rec.size);
  const at = (i: number, of: Uint8Array): DataView => new DataView(of.buffer, of.byteOffset + i * Rec.size, Rec.size);
  for (let i = 0; i < list.length * perCase; i++) {
    const c = list[Math.floor(i / perCase)];
    const record = at(i, records);
    fillState(random, record, c.bcd === true);
    for (let b = 0; b < 16; b++) record.setUint8(Rec.code + b, c.bytes[b] ?? 0x90);
  }
  const results = host.run(records);
  // A switch of tasks in the middle of a case loses the instruction and data pointers on AMD's processors (APM vol. 2 §11.5.2), so what differs
  // is run once more.
  const originals = records.slice();
  const runAgain = (i: number): DataView => at(0, host.run(originals.slice(i * Rec.size, (i + 1) * Rec.size)));
  const out: Difference[] = [];
  for (let i = 0; i < list.length * perCase; i++) {
    const c = list[Math.floor(i / perCase)];
    const ours = at(i, records);
    const before = describeRecord(ours);
    machine.load(ours);
    c.run(machine, ours);
    machine.save(ours);
    const expectedOf = (theirs: DataView): string => {
      simplifyTags(theirs);
      if (c.nearly) tolerate(theirs, ours);
      return describeRecord(theirs);
    };
    const actual = describeRecord(ours);
    let expected = expectedOf(at(i, results));
    if (expected !== actual) expected = expectedOf(runAgain(i));
    if (expected !== actual)
      out.push({ name: c.name, text: `${c.name}\n  before ${before}\n  host   ${expected}\n  ours   ${actual}` });
  }
  return out;
}
