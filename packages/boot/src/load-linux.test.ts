import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { E820_ACPI } from './e820.ts';
import { BootError } from './errors.ts';
import { expandKernel, kernelWidth, openKernel } from './image.ts';
import { type LinuxBootConfig, type LinuxBootPlan, loadLinux } from './load-linux.ts';
import { makeBzImage, makeElf } from './testing/images.ts';

const MiB = 1024 * 1024;
const elf = makeElf();
const bzImage = makeBzImage(new Uint8Array(gzipSync(elf)));
const base: LinuxBootConfig = { kernel: bzImage, cmdline: 'console=ttyS0', memory: { size: 256 * MiB } };
const load = (config: Partial<LinuxBootConfig> = {}): Promise<LinuxBootPlan> => loadLinux({ ...base, ...config });

/** A view of what the plan puts at an address. */
function at(plan: LinuxBootPlan, gpa: number): DataView {
  const segment = plan.segments.find((s) => gpa >= s.gpa && gpa < s.gpa + s.bytes.length);
  if (segment === undefined) throw new Error(`nothing at 0x${gpa.toString(16)}`);
  const { bytes } = segment;
  return new DataView(bytes.buffer, bytes.byteOffset + gpa - segment.gpa, bytes.length - (gpa - segment.gpa));
}
const cString = (view: DataView): string => {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
};

describe('64-bit boot protocol (boot.rst, "64-bit Boot Protocol")', () => {
  it('enters the ELF entry in long mode with RSI at boot_params, __BOOT_CS 0x10, __BOOT_DS 0x18, interrupts off', async () => {
    const { entry, protocol, width } = await load();
    expect(protocol).toBe('linux64');
    expect(width).toBe(64);
    expect(entry).toMatchObject({ mode: 'long64', rip: 0x100_0000, cr0: 0x8000_0011, cr4: 0x20, efer: 0x500, rflags: 2 });
    expect(entry.cs).toEqual({ selector: 0x10, base: 0, limit: 0xffff_ffff, attributes: 0xa09b });
    expect(entry.data).toEqual({ selector: 0x18, base: 0, limit: 0xffff_ffff, attributes: 0xc093 });
  });

  it('the GDT in memory says the same as the hidden parts of the segment registers', async () => {
    const plan = await load();
    const gdt = at(plan, plan.entry.gdt.base);
    expect(gdt.getBigUint64(0, true)).toBe(0n);
    expect(gdt.getBigUint64(0x10, true)).toBe(0x00af_9b00_0000_ffffn);
    expect(gdt.getBigUint64(0x18, true)).toBe(0x00cf_9300_0000_ffffn);
    expect(gdt.getBigUint64(plan.entry.tr.selector, true) & 0x0000_ff00_0000_0000n).toBe(0x8b00_0000_0000n);
  });

  it('maps the first 4 GiB to themselves', async () => {
    const plan = await load();
    const walk = (va: number): number => {
      const next = (table: number, shift: number): number => {
        const entry = at(plan, table + (Math.floor(va / 2 ** shift) % 512) * 8).getBigUint64(0, true);
        expect(entry & 3n).toBe(3n);
        if (shift === 21) expect(entry & 0x80n).toBe(0x80n);
        return Number(entry & 0xffff_ffff_f000n);
      };
      return next(next(next(plan.entry.cr3, 39), 30), 21) + (va % 0x20_0000);
    };
    for (const va of [0, 0x1234, 0x100_0000, 0x3fff_ffff, 0x4000_0000, 0xfee0_0000, 0xffff_ffff]) expect(walk(va)).toBe(va);
  });

  it('fills boot_params: setup header copied, loader, command line, initrd, RSDP, memory map, sentinel 0', async () => {
    const initrd = new Uint8Array(5000).fill(7);
    const plan = await load({ initrd, acpiRsdp: 0xe_0000, cmdline: 'console=ttyS0 quiet' });
    const zp = at(plan, plan.entry.rsi);
    expect(zp.byteLength).toBe(4096);
    expect(zp.getUint32(0x202, true)).toBe(0x5372_6448);
    expect(zp.getUint16(0x206, true)).toBe(0x020f);
    expect(zp.getUint8(0x210)).toBe(0xff);
    expect(zp.getUint8(0x211)).toBe(1);
    expect(zp.getUint8(0x1ef)).toBe(0);
    expect(zp.getUint32(0x230, true)).toBe(0x20_0000);
    expect(zp.getUint32(0x070, true)).toBe(0xe_0000);
    expect(cString(at(plan, zp.getUint32(0x228, true)))).toBe('console=ttyS0 quiet');
    const initrdGpa = zp.getUint32(0x218, true);
    expect(zp.getUint32(0x21c, true)).toBe(5000);
    expect(initrdGpa % 4096).toBe(0);
    expect(initrdGpa).toBe(256 * MiB - 8192);
    expect(at(plan, initrdGpa).getUint8(0)).toBe(7);
    const entries = Array.from({ length: zp.getUint8(0x1e8) }, (_, i) => ({
      gpa: Number(zp.getBigUint64(0x2d0 + i * 20, true)),
      size: Number(zp.getBigUint64(0x2d8 + i * 20, true)),
      type: zp.getUint32(0x2e0 + i * 20, true),
    }));
    expect(entries).toEqual(plan.e820);
  });

  it('shares the bytes of an uncompressed kernel instead of copying them', async () => {
    const kernel = makeBzImage(elf);
    const plan = await load({ kernel });
    expect(plan.segments.some((s) => s.bytes.buffer === kernel.buffer && s.gpa === 0x100_0000)).toBe(true);
  });

  it('starts an expanded image exactly as the compressed one', async () => {
    const expanded = await expandKernel(bzImage);
    const summary = ({ segments, entry, kernelVersion, protocol }: LinuxBootPlan) => ({
      entry,
      kernelVersion,
      protocol,
      segments: segments.filter((s) => s.gpa !== 0x1_0000).map((s) => ({ gpa: s.gpa, bytes: [...s.bytes] })),
    });
    expect(summary(await load({ kernel: expanded }))).toEqual(summary(await load()));
    expect((await openKernel(expanded)).header?.kernelVersion).toBe('6.1.0-test #1');
  });
});

describe('32-bit boot protocol (boot.rst, "32-bit Boot Protocol")', () => {
  it('enters a 32-bit kernel in flat protected mode with ESI at boot_params', async () => {
    const kernel = makeBzImage(new Uint8Array(gzipSync(makeElf({ width: 32 }))), { xloadflags: 0 });
    const plan = await load({ kernel });
    expect(plan.protocol).toBe('linux32');
    expect(plan.entry).toMatchObject({ mode: 'protected32', rip: 0x100_0000, cr0: 0x11, cr3: 0, cr4: 0, efer: 0 });
    expect(plan.entry.cs.attributes).toBe(0xc09b);
    expect(at(plan, plan.entry.rsi).getUint32(0x202, true)).toBe(0x5372_6448);
  });
});

describe('PVH (pvh.pandoc)', () => {
  const kernel = makeElf({ pvhEntry: 0x100_0010 });

  it('is taken for a bare vmlinux that has the note: EBX at hvm_start_info', async () => {
    const plan = await load({ kernel, initrd: new Uint8Array(100), acpiRsdp: 0xf_0000 });
    expect(plan.protocol).toBe('pvh');
    expect(plan.entry).toMatchObject({ mode: 'protected32', rip: 0x100_0010 });
    const info = at(plan, plan.entry.rbx);
    expect(info.getUint32(0, true)).toBe(0x336e_c578);
    expect(info.getUint32(4, true)).toBe(1);
    expect(info.getUint32(12, true)).toBe(1);
    expect(cString(at(plan, info.getUint32(24, true)))).toBe('console=ttyS0');
    expect(info.getUint32(32, true)).toBe(0xf_0000);
    const module = at(plan, info.getUint32(16, true));
    expect(module.getUint32(0, true)).toBe(256 * MiB - 4096);
    expect(module.getUint32(8, true)).toBe(100);
    const map = at(plan, info.getUint32(40, true));
    expect(info.getUint32(48, true)).toBe(plan.e820.length);
    plan.e820.forEach((entry, i) => {
      expect(Number(map.getBigUint64(i * 24, true))).toBe(entry.gpa);
      expect(Number(map.getBigUint64(i * 24 + 8, true))).toBe(entry.size);
      expect(map.getUint32(i * 24 + 16, true)).toBe(entry.type);
    });
  });

  it('can be chosen, and refused, explicitly', async () => {
    expect((await load({ kernel, entryProtocol: 'linux64' })).protocol).toBe('linux64');
    await expect(load({ kernel: elf, entryProtocol: 'pvh' })).rejects.toMatchObject({ code: 'BOOT_NO_ENTRY' });
    await expect(load({ entryProtocol: 'linux32' })).rejects.toMatchObject({ code: 'BOOT_NO_ENTRY' });
    expect((await load({ kernel: elf })).protocol).toBe('linux64');
  });
});

describe('memory map', () => {
  const types = (plan: LinuxBootPlan) => plan.e820.map((e) => [e.gpa, e.gpa + e.size, e.type]);

  it('leaves the hole at 640 KiB … 1 MiB and reserves the BIOS area', async () => {
    expect(types(await load())).toEqual([
      [0, 0x9_fc00, 1],
      [0x9_fc00, 0xa_0000, 2],
      [0xe_0000, 0x10_0000, 2],
      [0x10_0000, 256 * MiB, 1],
    ]);
  });

  it('continues RAM beyond 3 GiB at 4 GiB', async () => {
    const map = types(await load({ memory: { size: 5 * 1024 * MiB } }));
    expect(map.slice(-2)).toEqual([
      [0x10_0000, 0xc000_0000, 1],
      [0x1_0000_0000, 0x1_8000_0000, 1],
    ]);
  });

  it('lets additional entries replace RAM, and puts nothing there', async () => {
    const tables = { gpa: 256 * MiB - 0x1_0000, size: 0x1_0000, type: E820_ACPI };
    const plan = await load({ memory: { size: 256 * MiB, extra: [tables] }, initrd: new Uint8Array(4096) });
    expect(types(plan).slice(-2)).toEqual([
      [0x10_0000, tables.gpa, 1],
      [tables.gpa, 256 * MiB, E820_ACPI],
    ]);
    expect(at(plan, plan.entry.rsi).getUint32(0x218, true)).toBe(tables.gpa - 4096);
  });

  it('refuses sizes and ranges that are none', async () => {
    for (const size of [0, -1, 1.5, Number.NaN, MiB])
      await expect(load({ memory: { size } })).rejects.toMatchObject({ code: 'BOOT_BAD_MEMORY_MAP' });
    const extra = [{ gpa: -1, size: 10, type: 2 }];
    await expect(load({ memory: { size: 256 * MiB, extra } })).rejects.toMatchObject({ code: 'BOOT_BAD_MEMORY_MAP' });
  });
});

describe('bad input has a code and one clear line', () => {
  const cases: readonly [string, Partial<LinuxBootConfig>, string, RegExp][] = [
    ['an empty file', { kernel: new Uint8Array(0) }, 'BOOT_NOT_A_KERNEL', /not a Linux kernel: the file is empty/],
    ['a text file', { kernel: new TextEncoder().encode('hello '.repeat(500)) }, 'BOOT_NOT_A_KERNEL', /not a Linux kernel/],
    ['half a kernel', { kernel: bzImage.subarray(0, bzImage.length - 40) }, 'BOOT_TRUNCATED', /truncated/],
    ['a quarter of a kernel', { kernel: bzImage.subarray(0, 1000) }, 'BOOT_TRUNCATED', /truncated/],
    ['half a vmlinux', { kernel: elf.subarray(0, elf.length / 2) }, 'BOOT_TRUNCATED', /truncated/],
    [
      'too little memory',
      { memory: { size: 16 * MiB } },
      'BOOT_OUT_OF_MEMORY',
      /needs at least 17 MiB of memory, the guest has 16 MiB/,
    ],
    [
      'too large an initrd',
      { memory: { size: 20 * MiB }, initrd: new Uint8Array(8 * MiB) },
      'BOOT_INITRD_TOO_LARGE',
      /need at least 26 MiB/,
    ],
    ['a long command line', { cmdline: 'x'.repeat(2048) }, 'BOOT_CMDLINE', /at most 2047/],
    ['a NUL in the command line', { cmdline: 'a\0b' }, 'BOOT_CMDLINE', /NUL/],
    ['an old protocol', { kernel: makeBzImage(elf, { version: 0x0207 }) }, 'BOOT_UNSUPPORTED', /2\.07/],
    ['a zImage', { kernel: makeBzImage(elf, { loadflags: 0 }) }, 'BOOT_UNSUPPORTED', /zImage/],
    ['a 64-bit payload without XLF_KERNEL_64', { kernel: makeBzImage(elf, { xloadflags: 0 }) }, 'BOOT_BAD_HEADER', /64-bit/],
    ['a handover flag without offset', { kernel: makeBzImage(elf, { xloadflags: 9 }) }, 'BOOT_BAD_HEADER', /handover/],
    ['a payload of noise', { kernel: makeBzImage(new Uint8Array(64).fill(3)) }, 'BOOT_BAD_PAYLOAD', /compression/],
    ['an entry outside of the image', { kernel: makeElf({ entry: 0x50 }) }, 'BOOT_BAD_HEADER', /entry point/],
    [
      'a kernel below 1 MiB',
      { kernel: makeElf({ segments: [{ gpa: 0x8000, bytes: new Uint8Array(16) }] }) },
      'BOOT_UNSUPPORTED',
      /1 MiB/,
    ],
  ];
  for (const [name, config, code, message] of cases) {
    it(name, async () => {
      const error: unknown = await load(config).then(
        () => undefined,
        (e) => e,
      );
      expect(error).toBeInstanceOf(BootError);
      expect((error as BootError).code).toBe(code);
      expect((error as BootError).message).toMatch(message);
      expect((error as BootError).message).not.toContain('\n');
    });
  }

  it('an ELF for another processor, and an object file', async () => {
    const arm = elf.slice();
    arm[18] = 183;
    await expect(load({ kernel: arm })).rejects.toMatchObject({ code: 'BOOT_UNSUPPORTED' });
    const object = elf.slice();
    object[16] = 1;
    await expect(load({ kernel: object })).rejects.toMatchObject({ code: 'BOOT_NOT_A_KERNEL' });
  });
});

describe('kernelWidth', () => {
  it('tells 64- from 32-bit kernels without unpacking them', () => {
    expect(kernelWidth(bzImage)).toBe(64);
    expect(kernelWidth(makeBzImage(new Uint8Array(64), { xloadflags: 0 }))).toBe(32);
    expect(kernelWidth(makeElf({ width: 32 }))).toBe(32);
    expect(kernelWidth(elf)).toBe(64);
    expect(() => kernelWidth(bzImage.subarray(0, bzImage.length - 40))).toThrow(/truncated/);
    expect(() => kernelWidth(new Uint8Array(3))).toThrow(BootError);
  });
});

describe('hostile images', () => {
  const check = async (kernel: Uint8Array): Promise<void> => {
    try {
      const plan = await load({ kernel, memory: { size: 64 * MiB }, initrd: new Uint8Array(4096) });
      const sorted = [...plan.segments].sort((a, b) => a.gpa - b.gpa);
      sorted.forEach((segment, i) => {
        expect(segment.gpa + segment.bytes.length).toBeLessThanOrEqual(sorted[i + 1]?.gpa ?? 64 * MiB);
      });
    } catch (error) {
      if (!(error instanceof BootError)) throw error;
      expect(error.message).not.toContain('\n');
    }
  };
  const seeds = [bzImage, makeBzImage(elf), elf, makeElf({ width: 32, pvhEntry: 0x100_0000 }), makeElf({ pvhEntry: 0x100_0010 })];

  it('a truncated image never throws anything but BootError', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...seeds), fc.double({ min: 0, max: 1, noNaN: true }), (seed, part) =>
        check(seed.subarray(0, Math.floor(seed.length * part))),
      ),
      { numRuns: 500 },
    );
  });

  it('a mutated image never throws anything but BootError, and what loads is disjoint and inside RAM', async () => {
    const change = fc.tuple(fc.nat(), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.integer({ min: 1, max: 8 }));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...seeds), fc.array(change, { minLength: 1, maxLength: 6 }), (seed, changes) => {
        const kernel = seed.slice();
        for (const [offset, value, count] of changes) {
          // Headers are where the meaning is: most mutations go there.
          const start = (offset & 1) === 0 ? offset % Math.min(kernel.length, 256) : 0x1f0 + (offset % 0xa0);
          kernel.fill(value, start, start + count);
        }
        try {
          kernelWidth(kernel);
        } catch (error) {
          expect(error).toBeInstanceOf(BootError);
        }
        return check(kernel);
      }),
      { numRuns: 1500 },
    );
  });
});
