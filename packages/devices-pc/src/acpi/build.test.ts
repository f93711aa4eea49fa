import { describe, expect, it } from 'vitest';
import { findRsdp, type Memory, parseAml, sum, tableAt, text } from '../testing/acpi-reader.ts';
import { type AcpiConfig, buildAcpiTables } from './index.ts';

const CONFIG: AcpiConfig = {
  apicIds: [0, 1, 4],
  localApicAddress: 0xfee0_0000,
  ioApics: [{ id: 0, address: 0xfec0_0000, gsiBase: 0 }],
  interruptOverrides: [
    { isaIrq: 0, gsi: 2 },
    { isaIrq: 9, gsi: 9, polarity: 'high', trigger: 'level' },
  ],
  pm: { event: 0x600, control: 0x604, timer: 0x608, timerBits: 32, sciGsi: 9, resetPort: 0xcf9 },
  serial: [{ port: 0x3f8, irq: 4 }],
  rtc: { port: 0x70, irq: 8 },
};

function load(config: AcpiConfig = CONFIG) {
  const tables = buildAcpiTables(config);
  const memory: Memory = { base: 0xe_0000, bytes: new Uint8Array(0x2_0000) };
  for (const { address, bytes } of tables.blobs) memory.bytes.set(bytes, address - memory.base);
  const rsdp = new DataView(memory.bytes.buffer, tables.rsdpAddress - memory.base, 36);
  const xsdt = tableAt(memory, Number(rsdp.getBigUint64(24, true)));
  const entries = Array.from({ length: (xsdt.bytes.length - 36) / 8 }, (_, i) =>
    Number(xsdt.view.getBigUint64(36 + 8 * i, true)),
  );
  const found = entries.map((address) => tableAt(memory, address));
  const bySignature = (signature: string) => found.filter((table) => table.signature === signature)[0];
  const fadt = bySignature('FACP');
  const dsdt = tableAt(memory, fadt.view.getUint32(40, true));
  return { tables, memory, rsdp, xsdt, entries, fadt, madt: bySignature('APIC'), dsdt, aml: parseAml(dsdt.bytes.subarray(36)) };
}

describe('table placement', () => {
  it('a scan of 0xe0000-0xfffff on 16-byte steps finds the RSDP where the boot protocol is told it is (§5.2.5.1)', () => {
    const { tables, memory } = load();
    expect(findRsdp(memory)).toBe(tables.rsdpAddress);
  });

  it('blobs lie below 1 MiB in ascending order without overlaps', () => {
    const { tables } = load();
    let end = 0xe_0000;
    for (const { address, bytes } of tables.blobs) {
      expect(address).toBeGreaterThanOrEqual(end);
      end = address + bytes.length;
    }
    expect(end).toBeLessThanOrEqual(0x10_0000);
  });

  it('every table with the common header sums to 0, and RSDT and XSDT list the same ones (§5.2.6)', () => {
    const { memory, rsdp, xsdt, entries, fadt, madt, dsdt } = load();
    const rsdt = tableAt(memory, rsdp.getUint32(16, true));
    for (const table of [rsdt, xsdt, fadt, madt, dsdt]) expect([table.signature, sum(table.bytes)]).toEqual([table.signature, 0]);
    expect(Array.from({ length: entries.length }, (_, i) => rsdt.view.getUint32(36 + 4 * i, true))).toEqual(entries);
    expect(rsdp.getUint8(15)).toBe(2);
  });

  it('the same machine gives the same bytes', () => {
    expect(buildAcpiTables(CONFIG)).toEqual(buildAcpiTables(CONFIG));
  });
});

describe('FADT (§5.2.9)', () => {
  it('has the length of its revision: Linux warns of any other', () => {
    const { fadt } = load();
    expect([fadt.view.getUint8(8), fadt.bytes.length]).toEqual([6, 276]);
  });

  it('gives each register block the same address and length in 32-bit and extended form', () => {
    const { fadt } = load();
    for (const [legacy, length, extended] of [
      [56, 88, 148],
      [64, 89, 172],
      [76, 91, 208],
    ]) {
      expect(fadt.view.getUint8(extended)).toBe(1);
      expect(fadt.view.getUint8(extended + 1)).toBe(8 * fadt.view.getUint8(length));
      expect(Number(fadt.view.getBigUint64(extended + 4, true))).toBe(fadt.view.getUint32(legacy, true));
    }
    expect([fadt.view.getUint8(88), fadt.view.getUint8(89), fadt.view.getUint8(91)]).toEqual([4, 2, 4]);
    expect([56, 64, 76].map((at) => fadt.view.getUint32(at, true))).toEqual([0x600, 0x604, 0x608]);
  });

  it('has one DSDT in both forms, and a FACS on a 64-byte step in the 32-bit form alone', () => {
    const { fadt, memory } = load();
    expect(Number(fadt.view.getBigUint64(140, true))).toBe(fadt.view.getUint32(40, true));
    const facs = fadt.view.getUint32(36, true);
    expect([facs % 64, text(memory.bytes, facs - memory.base, 4), fadt.view.getBigUint64(132, true)]).toEqual([0, 'FACS', 0n]);
  });

  it('is full hardware, always in ACPI mode, with a reset register at CF9h', () => {
    const { fadt } = load();
    const flags = fadt.view.getUint32(112, true);
    expect([fadt.view.getUint16(46, true), fadt.view.getUint32(48, true)]).toEqual([9, 0]);
    expect([(flags >> 10) & 1, (flags >> 20) & 1, (flags >> 4) & 1]).toEqual([1, 0, 0]);
    expect([...fadt.bytes.subarray(116, 129)]).toEqual([1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 6]);
  });

  it('says how many bits the PM timer has', () => {
    const bit = (timerBits: 24 | 32): number =>
      (load({ ...CONFIG, pm: { ...CONFIG.pm, timerBits } }).fadt.view.getUint32(112, true) >> 8) & 1;
    expect([bit(24), bit(32)]).toEqual([0, 1]);
  });

  it('mentions the keyboard controller and the RTC only where they are', () => {
    const keyboardController = { dataPort: 0x60, commandPort: 0x64, irq: 1 };
    const { rtc: _, ...withoutRtc } = CONFIG;
    expect(load().fadt.view.getUint16(109, true) & 0x22).toBe(0);
    expect(load({ ...CONFIG, keyboardController }).fadt.view.getUint16(109, true) & 0x22).toBe(0x02);
    const bare = load(withoutRtc).fadt;
    expect([bare.view.getUint16(109, true) & 0x22, bare.view.getUint8(108)]).toEqual([0x20, 0]);
    expect(load().fadt.view.getUint8(108)).toBe(0x32);
  });
});

describe('MADT (§5.2.12)', () => {
  function structures(bytes: Uint8Array): number[][] {
    const list: number[][] = [];
    for (let at = 44; at < bytes.length; at += bytes[at + 1]) list.push([...bytes.subarray(at, at + bytes[at + 1])]);
    return list;
  }

  it('lists processors, I/O APICs, overrides and the NMI pin, and says that 8259s are there', () => {
    const { madt } = load();
    expect([madt.view.getUint32(36, true), madt.view.getUint32(40, true)]).toEqual([0xfee0_0000, 1]);
    expect(structures(madt.bytes)).toEqual([
      [0, 8, 0, 0, 1, 0, 0, 0],
      [0, 8, 1, 1, 1, 0, 0, 0],
      [0, 8, 2, 4, 1, 0, 0, 0],
      [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
      [2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
      [2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0],
      [4, 6, 0xff, 0, 0, 1],
    ]);
  });
});

describe('DSDT', () => {
  it('names S5 with the type that the PM1 control register takes', () => {
    expect(load().aml.names.get('\\_S5')).toEqual([5, 5, 0, 0]);
  });

  it('has a device for each processor, tied to the MADT by _UID', () => {
    const processors = load().aml.devices.filter(({ names }) => names.get('_HID') === 'ACPI0007');
    expect(processors.map(({ path, names }) => [path, names.get('_UID')])).toEqual([
      ['\\_SB.C000', 0],
      ['\\_SB.C001', 1],
      ['\\_SB.C002', 2],
    ]);
  });

  it('has serial ports, the RTC and the keyboard controller with their ports and interrupts', () => {
    const config = { ...CONFIG, keyboardController: { dataPort: 0x60, commandPort: 0x64, irq: 1 } };
    const { devices } = load(config).aml;
    const resources = (path: string): string => {
      const [device] = devices.filter((candidate) => candidate.path === path);
      return Buffer.from(device.names.get('_CRS') as Uint8Array).toString('hex');
    };
    expect(resources('\\_SB.COM1')).toBe('4701f803f8030108' + '221000' + '7900');
    expect(resources('\\_SB.RTC')).toBe('4701700070000104' + '220001' + '7900');
    expect(resources('\\_SB.KBD')).toBe('4701600060000101' + '4701640064000101' + '220200' + '7900');
  });

  it('fits 255 processors', () => {
    const apicIds = Array.from({ length: 255 }, (_, id) => id);
    expect(load({ ...CONFIG, apicIds }).aml.devices.length).toBe(257);
  });
});

describe('impossible machines', () => {
  it.each([
    ['no processor', { apicIds: [] }],
    ['two processors of one id', { apicIds: [3, 3] }],
    ['an id that an xAPIC does not have', { apicIds: [255] }],
    ['a port past 64 Ki', { serial: [{ port: 0x1_0000, irq: 4 }] }],
    ['an ISA interrupt past 15', { rtc: { port: 0x70, irq: 16 } }],
    ['a fractional APIC address', { localApicAddress: 0.5 }],
  ])('%s', (_, change) => {
    expect(() => buildAcpiTables({ ...CONFIG, ...change })).toThrow(expect.objectContaining({ code: 'DEVICES_PC_CONFIG' }));
  });
});
