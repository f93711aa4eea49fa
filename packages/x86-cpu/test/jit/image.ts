/** Memory that all programs find: descriptor and page tables, and a handler that writes down what happened and goes on elsewhere. */
import { FIRST_INTERRUPT, Log, PAGE, Place, SOFTWARE_INTERRUPT } from './places.ts';

const Entry = { P: 1, RW: 2, US: 4, A: 0x20, D: 0x40 } as const;
/** SDM vol. 3 table 6-1. */
const PUSHES_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);
const TRAP_FLAGS = 0x100 | 0x4000 | 0x4_0000;
/** Not RAM. */
export const DEVICE_GPA = 0x1000_0000;

const le32 = (value: number): number[] => [0, 8, 16, 24].map((n) => (value >>> n) & 0xff);

function writeDescriptors(image: Buffer): void {
  const entries = [
    0n,
    0x00af_9b00_0000_ffffn,
    0x00cf_9300_0000_ffffn,
    0x00cf_f300_0000_ffffn,
    0x00af_fb00_0000_ffffn,
    (0x8bn << 40n) | (BigInt(Place.tss) << 16n) | 0x67n,
    0n,
    0x00cf_9b00_0000_ffffn,
    0x00cf_fb00_0000_ffffn,
  ];
  entries.forEach((entry, n) => {
    image.writeBigUInt64LE(entry, Place.gdt + 8 * n);
  });
  const top = BigInt(Place.eventStack);
  image.writeBigUInt64LE(top, Place.tss + 4);
  image.writeBigUInt64LE(top, Place.tss + 0x24);
  for (let vector = 0; vector < 256; vector++) {
    const handler = Place.handlers + 16 * Math.min(vector, SOFTWARE_INTERRUPT);
    // Interrupt gates on IST 1; INT n may be used at CPL 3.
    const dpl = vector >= 3 && vector <= 4 ? 3 : vector >= FIRST_INTERRUPT ? 3 : 0;
    image.writeUInt32LE((handler & 0xffff) | (0x08 << 16), Place.idt + 16 * vector);
    image.writeUInt32LE(((handler & 0xffff_0000) | ((0x8e | (dpl << 5)) << 8) | 1) >>> 0, Place.idt + 16 * vector + 4);
  }
}

/** One set of page tables; `exchanged` has the two pages of data the other way around. */
function writePages(image: Buffer, [pml4, pdpt, pd, pt]: readonly number[], exchanged: boolean): void {
  const link = Entry.P | Entry.RW | Entry.US | Entry.A;
  image.writeUInt32LE(pdpt | link, pml4);
  image.writeUInt32LE(pd | link, pdpt);
  image.writeUInt32LE(pt | link, pd);
  const map = (va: number, pages: number, bits: number, gpa = va): void => {
    for (let n = 0; n < pages; n++) image.writeUInt32LE(gpa + n * PAGE + (bits | Entry.P | Entry.A), pt + 8 * ((va >>> 12) + n));
  };
  map(Place.gdt, 3, 0);
  map(Place.handlers, 2, 0);
  map(Place.log, 1, Entry.RW);
  map(Place.eventStack - PAGE, 1, Entry.RW);
  map(Place.data, 1, Entry.RW | Entry.US, exchanged ? Place.data + PAGE : Place.data);
  map(Place.data + PAGE, 1, Entry.RW | Entry.US, exchanged ? Place.data : Place.data + PAGE);
  map(Place.readOnly, 1, Entry.US);
  map(Place.stack, 1, Entry.RW | Entry.US);
  map(Place.code, 2, Entry.RW | Entry.US);
  map(Place.device, 1, Entry.RW | Entry.US, DEVICE_GPA);
}

/**
 * Writes an entry {vector, error code, RIP, RFLAGS, RSP, CR2}. A fault goes on at one of the program's blocks with pointers set right; an
 * interrupt where it was. When the log is full, the machine halts.
 */
function commonHandler(): number[] {
  const save = [
    ...[0x50, 0x53, 0xb8, ...le32(Place.log)], // push rax; push rbx; mov eax, log
    ...[0x8b, 0x18, 0xff, 0x00], // mov ebx, [rax]; inc dword [rax]
    ...[0x83, 0xfb, Log.most, 0x72, 0x02, 0xf4, 0xf4], // cmp ebx, most; jb +2; hlt; hlt
    ...[0xc1, 0xe3, 0x06, 0x48, 0x8d, 0x9c, 0x18, ...le32(Log.entries)], // shl ebx, 6; lea rbx, [rax+rbx+entries]
  ];
  const copy = (from: number, to: number): number[] => [0x48, 0x8b, 0x44, 0x24, from, 0x48, 0x89, 0x43, to];
  const write = [
    ...[...copy(0x10, 0), ...copy(0x18, 8), ...copy(0x20, 16), ...copy(0x30, 24), ...copy(0x38, 32)],
    ...[0x0f, 0x20, 0xd0, 0x48, 0x89, 0x43, 0x28], // mov rax, cr2; mov [rbx+28h], rax
  ];
  const elsewhere = [
    ...[0xb8, ...le32(Place.log), 0x8b, 0x18, 0x83, 0xe3, 0x0f], // mov eax, log; mov ebx, [rax]; and ebx, 15
    ...[0x48, 0x8b, 0x5c, 0xd8, Log.resume, 0x48, 0x89, 0x5c, 0x24, 0x20], // mov rbx, [rax+rbx*8+resume]; mov [rsp+20h], rbx
    ...[0x48, 0x8b, 0x58, Log.pointers, 0x48, 0x89, 0x5c, 0x24, 0x38], // mov rbx, [rax+pointers]; mov [rsp+38h], rbx
    ...[0x81, 0x64, 0x24, 0x30, ...le32(~TRAP_FLAGS)], // and dword [rsp+30h], ~flags
    ...[0x48, 0x8b, 0x68, Log.pointers + 8, 0x4c, 0x8b, 0x68, Log.pointers + 16], // mov rbp, [rax+pointers+8]; mov r13, [rax+pointers+16]
  ];
  return [
    ...save,
    ...write,
    ...[0x83, 0x7c, 0x24, 0x10, FIRST_INTERRUPT, 0x73, elsewhere.length], // cmp dword [rsp+10h], 20h; jae
    ...elsewhere,
    ...[0x5b, 0x58, 0x48, 0x83, 0xc4, 0x10, 0x48, 0xcf], // pop rbx; pop rax; add rsp, 16; iretq
  ];
}

export function baseImage(): Buffer {
  const image = Buffer.alloc(Place.ram);
  writeDescriptors(image);
  writePages(image, [Place.pml4, Place.pdpt, Place.pd, Place.pt], false);
  writePages(image, [Place.otherPml4, Place.otherPdpt, Place.otherPd, Place.otherPt], true);
  image.set(commonHandler(), Place.common);
  for (let vector = 0; vector <= SOFTWARE_INTERRUPT; vector++) {
    const at = Place.handlers + 16 * vector;
    const stub = [...(PUSHES_ERROR.has(vector) ? [] : [0x6a, 0]), 0x68, ...le32(vector)];
    image.set([...stub, 0xe9, ...le32(Place.common - (at + stub.length + 5))], at);
  }
  return image;
}
