import { SLP_TYP_S5 } from '../acpi-pm/registers.ts';
import * as aml from './aml.ts';
import { concat } from './bytes.ts';
import type { AcpiConfig } from './config.ts';
import { table } from './table.ts';

/** Revision 2: integers of 64 bits. */
const DSDT_REVISION = 2;
/** Both banks of the RTC's RAM. */
const RTC_PORTS = 4;
const UART_PORTS = 8;

const isaDevice = (path: string, id: string, uid: number, resources: readonly Uint8Array[]): Uint8Array =>
  aml.device(path, [
    aml.name('_HID', aml.eisaId(id)),
    aml.name('_UID', aml.integer(uid)),
    aml.name('_CRS', aml.resourceTemplate(resources)),
  ]);

/** Processor devices; their _UID ties them to the MADT's entries (ACPI 6.4 §8.4). */
const processor = (uid: number): Uint8Array =>
  aml.device(`C${uid.toString(16).toUpperCase().padStart(3, '0')}`, [
    aml.name('_HID', aml.string('ACPI0007')),
    aml.name('_UID', aml.integer(uid)),
  ]);

function isaDevices(config: AcpiConfig): Uint8Array[] {
  const devices = config.serial.map(({ port, irq }, index) =>
    isaDevice(`COM${index + 1}`, 'PNP0501', index + 1, [aml.ioPorts(port, UART_PORTS), aml.isaIrq(irq)]),
  );
  if (config.rtc !== undefined)
    devices.push(isaDevice('RTC', 'PNP0B00', 0, [aml.ioPorts(config.rtc.port, RTC_PORTS), aml.isaIrq(config.rtc.irq)]));
  if (config.keyboardController !== undefined) {
    const { dataPort, commandPort, irq } = config.keyboardController;
    devices.push(isaDevice('KBD', 'PNP0303', 0, [aml.ioPorts(dataPort, 1), aml.ioPorts(commandPort, 1), aml.isaIrq(irq)]));
  }
  return devices;
}

/** The differentiated system description table: the soft-off state, processors and the devices no bus can enumerate. */
export function buildDsdt(config: AcpiConfig): Uint8Array {
  // SLP_TYPa, SLP_TYPb, two reserved (ACPI 6.4 §7.4.2).
  const softOff = [SLP_TYP_S5, SLP_TYP_S5, 0, 0].map(aml.integer);
  const processors = config.apicIds.map((_, uid) => processor(uid));
  return table(
    'DSDT',
    DSDT_REVISION,
    concat([aml.name('\\_S5', aml.packageOf(softOff)), aml.scope('\\_SB', [...processors, ...isaDevices(config)])]),
  );
}
