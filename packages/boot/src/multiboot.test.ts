import { describe, expect, it } from 'vitest';
import { E820_RAM, E820_RESERVED } from './e820.ts';
import { kernelWidth } from './image.ts';
import { MULTIBOOT_INFO_END, MULTIBOOT_INFO_GPA } from './layout.ts';
import { loadKernel } from './load-kernel.ts';
import { makeElf } from './testing/images.ts';

const MiB = 2 ** 20;
const header = (flags: number, more: readonly number[] = [], magic = 0x1bad_b002): Uint8Array =>
  new Uint8Array(Uint32Array.of(magic, flags, -(magic + flags), ...more).buffer);
const code = (flags = 0): Uint8Array => Uint8Array.of(...header(flags), 0xf4, 0xeb, 0xfd, 0x90);
const elf = (flags = 0, gpa = MiB): Uint8Array =>
  makeElf({ width: 32, segments: [{ gpa, bytes: code(flags), memSize: 0x1000 }], entry: gpa + 12 });
const load = (kernel: Uint8Array, more: { cmdline?: string; initrd?: Uint8Array; size?: number } = {}) =>
  loadKernel({
    kernel,
    cmdline: more.cmdline ?? 'x.elf one two',
    memory: { size: more.size ?? 64 * MiB },
    ...(more.initrd && { initrd: more.initrd }),
  });
const refused = (kernel: Uint8Array, more: Parameters<typeof load>[1] = {}) =>
  expect(load(kernel, more)).rejects.toMatchObject({
    code: expect.stringMatching(/^BOOT_/),
    message: expect.not.stringContaining('\n'),
  });

/** What the kernel finds at EBX. */
async function informed(...[kernel, more]: Parameters<typeof load>) {
  const plan = await load(kernel, more);
  const segment = plan.segments.find(({ gpa }) => gpa === plan.entry.rbx);
  if (segment === undefined) throw new Error('there is nothing at EBX');
  const view = new DataView(segment.bytes.buffer, segment.bytes.byteOffset);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  const text = (gpa: number): string => {
    const at = gpa - segment.gpa;
    return new TextDecoder().decode(segment.bytes.subarray(at, segment.bytes.indexOf(0, at)));
  };
  const map = Array.from({ length: u32(44) / 24 }, (_, n) => {
    const at = u32(48) - segment.gpa + 24 * n;
    return { gpa: u32(at + 4), size: u32(at + 12), type: u32(at + 20), entry: u32(at) };
  });
  return { plan, segment, u32, text, map };
}

describe('a Multiboot kernel (Multiboot Specification 0.6.96)', () => {
  it('§3.2: is entered in 32-bit protected mode, flat, without paging, interrupts off, with the magic in EAX', async () => {
    const { entry, protocol, width } = await load(elf());
    expect([protocol, width]).toEqual(['multiboot', 32]);
    expect(entry).toMatchObject({ mode: 'protected32', rip: MiB + 12, rax: 0x2bad_b002, rflags: 2, cr0: 0x11, cr4: 0, efer: 0 });
    expect([entry.cs.base, entry.cs.limit, entry.data.base, entry.data.limit]).toEqual([0, 0xffff_ffff, 0, 0xffff_ffff]);
  });

  it("§3.3: gets its command line, the memory and the loader's name, in memory that the map reserves", async () => {
    const { u32, text, map, segment } = await informed(elf());
    expect(u32(0)).toBe(0b10_0100_0101);
    expect(text(u32(16))).toBe('x.elf one two');
    expect(text(u32(64))).toBe('tsvisor');
    expect([u32(4), u32(8)]).toEqual([MULTIBOOT_INFO_GPA / 1024, 63 * 1024]);
    expect(map).toContainEqual({ gpa: MiB, size: 63 * MiB, type: E820_RAM, entry: 20 });
    expect(map.find(({ gpa }) => gpa === MULTIBOOT_INFO_GPA)?.type).toBe(E820_RESERVED);
    expect(segment.gpa + segment.bytes.length).toBeLessThanOrEqual(MULTIBOOT_INFO_END);
  });

  it('§3.3: gets the initrd as its module, on a page, outside of the free memory', async () => {
    const initrd = new Uint8Array(5000).fill(7);
    const { plan, u32, map } = await informed(elf(1), { initrd });
    expect(u32(0) & 8).toBe(8);
    expect(u32(20)).toBe(1);
    const module = plan.segments.at(-1);
    expect(module?.bytes).toBe(initrd);
    const at = u32(24) - MULTIBOOT_INFO_GPA;
    expect([u32(at), u32(at + 4)]).toEqual([module?.gpa, (module?.gpa ?? 0) + 5000]);
    expect(u32(at) % 4096).toBe(0);
    expect(map.some(({ gpa, size, type }) => type === E820_RAM && gpa < u32(at + 4) && gpa + size > u32(at))).toBe(false);
    expect(u32(8) * 1024 + MiB).toBe(u32(at));
  });

  it('may lie below 1 MiB', async () => {
    const { segments } = await load(elf(0, 0x1_0000));
    expect(segments).toContainEqual({ gpa: 0x1_0000, bytes: code() });
  });

  it('§3.1.3: without an ELF header, goes where its own header says', async () => {
    const body = Uint8Array.of(
      1,
      2,
      3,
      4,
      ...header(0x1_0000, [0x10_0004, 0x10_0000, 0, 0x10_2000, 0x10_0024]),
      0xf4,
      0xf4,
      0xf4,
      0xf4,
    );
    const { segments, entry } = await load(body);
    expect(segments).toContainEqual({ gpa: MiB, bytes: body });
    expect(entry.rip).toBe(0x10_0024);
  });

  it('needs no processor with long mode', () => {
    expect(kernelWidth(elf())).toBe(32);
  });
});

describe('a Multiboot kernel that cannot be is refused with one line', () => {
  const addresses = (...more: number[]): Uint8Array => Uint8Array.of(...header(0x1_0000, more), 0xf4, 0xf4, 0xf4, 0xf4);
  const damaged = code();
  damaged[8] ^= 1;
  it.each([
    ['a wrong checksum', makeElf({ width: 32, segments: [{ gpa: MiB, bytes: damaged }] })],
    ['a flag that asks for a video mode', elf(4)],
    ['a required flag that nobody knows', elf(0x8000)],
    ['no ELF file and no addresses', Uint8Array.of(...header(0), 0xf4)],
    ['addresses that begin behind the header', addresses(MiB, MiB + 4, 0, 0, MiB)],
    ['addresses before the file begins', addresses(MiB + 64, MiB, 0, 0, MiB)],
    ['an end before the beginning', addresses(MiB, MiB, MiB - 4, 0, MiB)],
    ['more bytes than the file has', addresses(MiB, MiB, MiB + 4096, 0, MiB)],
    ['an entry outside of what is loaded', addresses(MiB, MiB, 0, 0, MiB + 4096)],
    ['a place beyond the memory', elf(0, 65 * MiB)],
    ['a place above 4 GiB', makeElf({ segments: [{ gpa: 2 ** 32, bytes: code() }] })],
    ['a place in the video window', elf(0, 0xa_0000)],
    ['a place where the loader tells it about itself', elf(0, MULTIBOOT_INFO_GPA)],
    ['a place over the descriptor table', elf(0, 0x1000)],
    [
      'huge zeros behind its bytes',
      makeElf({ width: 32, segments: [{ gpa: MiB, bytes: code(), memSize: 0xffff_0000 }], entry: MiB + 12 }),
    ],
    [
      'segments that overlap',
      makeElf({
        width: 32,
        segments: [
          { gpa: MiB, bytes: code() },
          { gpa: MiB + 4, bytes: code() },
        ],
        entry: MiB + 12,
      }),
    ],
  ])('%s', (_, kernel) => refused(kernel));

  it('a command line beyond the room there is, or with a NUL', async () => {
    await refused(elf(), { cmdline: 'x'.repeat(0x1_0000) });
    await refused(elf(), { cmdline: 'a\0b' });
  });

  it('a module beyond the memory there is', () => refused(elf(), { initrd: new Uint8Array(4 * MiB), size: 4 * MiB }));

  it('any cut of a whole one', async () => {
    const whole = elf();
    for (let size = 0; size < whole.length - 16; size += 3) await refused(whole.subarray(0, size));
  });
});
