/** Where two records differ after an instruction, host exceptions taken as the vectors they stand for. */
import { Rec } from './host.ts';

/** CF, PF, AF, ZF, SF, OF. */
const STATUS = 0x8d5;
const SIGFPE = 8;
const MF = 16;
const SIGSEGV = 11;
const SIGILL = 4;
const VECTOR: Readonly<Record<number, number>> = { 0: -1, [SIGFPE]: 19, [SIGSEGV]: 13, [SIGILL]: 6 };

/** Fields of FXSAVE's image that processors fill differently: last instruction and pointers, MXCSR_MASK, reserved bytes. */
function maskImage(record: Uint8Array): void {
  record.fill(0, Rec.memory + 5, Rec.memory + 24);
  record.fill(0, Rec.memory + 28, Rec.memory + 32);
  for (let i = 0; i < 8; i++) record.fill(0, Rec.memory + 42 + 16 * i, Rec.memory + 48 + 16 * i);
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).reverse().toString('hex');

/** `setsFlags`: the instruction writes the status flags, so they are compared too. */
export function differences(sem: string, setsFlags: boolean, ours: Uint8Array, vector: number, theirs: Uint8Array): string[] {
  const out: string[] = [];
  // SIGFPE stands for #MF too: it is that if an x87 exception was pending and no SSE one is unmasked.
  const pending = (theirs[Rec.image + 2] & 0x80) !== 0;
  const signal = theirs[Rec.signal];
  const expected = signal === SIGFPE && pending && (vector === MF || vector === -1) ? MF : VECTOR[signal];
  if (vector !== expected) out.push(`vector ${vector}, host ${expected}`);
  const compare = (name: string, at: number, bytes: number) => {
    const [a, b] = [ours.subarray(at, at + bytes), theirs.subarray(at, at + bytes)];
    if (Buffer.compare(a, b) !== 0) out.push(`${name} ${hex(a)}, host ${hex(b)}`);
  };
  if (expected === -1) {
    for (let reg = 0; reg < 4; reg++) compare(`gpr${reg}`, Rec.gpr + 8 * reg, 8);
    if (setsFlags) {
      const flags = (record: Uint8Array) => (record[Rec.rflags] | (record[Rec.rflags + 1] << 8)) & STATUS;
      if (flags(ours) !== flags(theirs)) out.push(`flags ${flags(ours).toString(16)}, host ${flags(theirs).toString(16)}`);
    }
  }
  if (sem === 'fxsave') for (const record of [ours, theirs]) maskImage(record);
  compare('fcw', Rec.image, 2);
  compare('fsw', Rec.image + 2, 2);
  compare('tags', Rec.image + 4, 1);
  compare('mxcsr', Rec.image + 24, 4);
  for (let i = 0; i < 8; i++) compare(`st${i}`, Rec.image + 32 + 16 * i, 10);
  for (let i = 0; i < 16; i++) compare(`xmm${i}`, Rec.image + 160 + 16 * i, 16);
  compare('memory', Rec.memory, Rec.memoryBytes);
  return out;
}
