import { DevicesPcError } from '../errors.ts';
import { ascii, checksum, concat, u8, u32, u64 } from './bytes.ts';
import { type AcpiConfig, checkConfig } from './config.ts';
import { buildDsdt } from './dsdt.ts';
import { buildFadt } from './fadt.ts';
import { buildMadt } from './madt.ts';
import { OEM_ID, table } from './table.ts';

/** Where systems without UEFI look for the RSDP, on 16-byte steps (ACPI 6.4 §5.2.5.1). */
export const ACPI_AREA_START = 0xe_0000;
export const ACPI_AREA_END = 0x10_0000;

/** A table and the guest-physical address it must be copied to. */
export type AcpiBlob = { readonly name: string; readonly address: number; readonly bytes: Uint8Array };

export type AcpiTables = {
  /** In ascending order of addresses, without overlaps, all below 1 MiB. */
  readonly blobs: readonly AcpiBlob[];
  /** Guest-physical address of the RSDP, for the boot protocol. */
  readonly rsdpAddress: number;
};

const RSDP_LENGTH = 36;
const RSDP_V1_LENGTH = 20;
const FACS_LENGTH = 64;
const FACS_VERSION = 2;

/** The firmware ACPI control structure has no header of the common form and no checksum (§5.2.10). */
const buildFacs = (): Uint8Array => {
  const bytes = new Uint8Array(FACS_LENGTH);
  bytes.set(concat([ascii('FACS'), u32(FACS_LENGTH)]));
  bytes[32] = FACS_VERSION;
  return bytes;
};

/** The root pointer: a checksum over its first 20 bytes for ACPI 1.0, another over all (§5.2.5.3). */
function buildRsdp(rsdtAddress: number, xsdtAddress: number): Uint8Array {
  const bytes = concat([
    ascii('RSD PTR '),
    u8(0),
    ascii(OEM_ID, 6),
    u8(2),
    u32(rsdtAddress),
    u32(RSDP_LENGTH),
    u64(xsdtAddress),
    u8(0),
    new Uint8Array(3),
  ]);
  bytes[8] = checksum(bytes.subarray(0, RSDP_V1_LENGTH));
  bytes[32] = checksum(bytes);
  return bytes;
}

/** Hands out addresses from the start of the area upwards. */
function createPlacer(): { place: (length: number, align: number) => number } {
  let next = ACPI_AREA_START;
  return {
    place: (length, align) => {
      const address = Math.ceil(next / align) * align;
      next = address + length;
      if (next > ACPI_AREA_END)
        throw new DevicesPcError(
          'DEVICES_PC_ACPI_SPACE',
          `ACPI tables need ${next - ACPI_AREA_END} bytes more than there are below 1 MiB`,
        );
      return address;
    },
  };
}

/**
 * Builds the ACPI tables of a machine and places them in 0xe0000-0xfffff, which the memory map must not call usable RAM.
 * Full hardware, not hardware-reduced: only then do systems use the PM timer, the 8259s and the 8254 beside the APICs.
 * @throws DevicesPcError `DEVICES_PC_CONFIG`, `DEVICES_PC_ACPI_SPACE`
 */
export function buildAcpiTables(config: AcpiConfig): AcpiTables {
  checkConfig(config);
  const { place } = createPlacer();
  const blobs: AcpiBlob[] = [];
  const add = (name: string, bytes: Uint8Array, align = 16): number => {
    const address = place(bytes.length, align);
    blobs.push({ name, address, bytes });
    return address;
  };

  const rsdpAddress = place(RSDP_LENGTH, 16);
  const facs = add('FACS', buildFacs(), FACS_LENGTH);
  const dsdt = add('DSDT', buildDsdt(config));
  const entries = [add('FACP', buildFadt(config, facs, dsdt)), add('APIC', buildMadt(config))];
  const rsdt = add('RSDT', table('RSDT', 1, concat(entries.map(u32))));
  const xsdt = add('XSDT', table('XSDT', 1, concat(entries.map(u64))));
  return { blobs: [{ name: 'RSDP', address: rsdpAddress, bytes: buildRsdp(rsdt, xsdt) }, ...blobs], rsdpAddress };
}
