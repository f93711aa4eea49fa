import { concat, u8, u16, u32 } from './bytes.ts';
import type { AcpiConfig, InterruptOverride } from './config.ts';
import { table } from './table.ts';

const REVISION = 5;
/** The machine also has the two 8259s. */
const PCAT_COMPAT = 1;
const ENABLED = 1;
const ISA_BUS = 0;
const ALL_PROCESSORS = 0xff;
/** NMIs come in at LINT1, as the MultiProcessor specification has it. */
const NMI_LINT = 1;

/** MPS INTI flags: two bits of polarity, two of trigger mode, 0 for what the bus has (ACPI 6.4 table 5.26). */
function intiFlags(source: InterruptOverride): number {
  const polarity = { high: 0b01, low: 0b11, bus: 0b00 }[source.polarity ?? 'bus'];
  const trigger = { edge: 0b01, level: 0b11, bus: 0b00 }[source.trigger ?? 'bus'];
  return polarity | (trigger << 2);
}

/** Interrupt controller structures begin with their type and length. */
const structure = (type: number, ...fields: readonly Uint8Array[]): Uint8Array => {
  const body = concat(fields);
  return concat([u8(type), u8(body.length + 2), body]);
};

/** The multiple APIC description table (ACPI 6.4 §5.2.12). */
export function buildMadt(config: AcpiConfig): Uint8Array {
  return table(
    'APIC',
    REVISION,
    concat([
      u32(config.localApicAddress),
      u32(PCAT_COMPAT),
      ...config.apicIds.map((apicId, uid) => structure(0, u8(uid), u8(apicId), u32(ENABLED))),
      ...config.ioApics.map(({ id, address, gsiBase }) => structure(1, u8(id), u8(0), u32(address), u32(gsiBase))),
      ...config.interruptOverrides.map((o) => structure(2, u8(ISA_BUS), u8(o.isaIrq), u32(o.gsi), u16(intiFlags(o)))),
      structure(4, u8(ALL_PROCESSORS), u16(0), u8(NMI_LINT)),
    ]),
  );
}
