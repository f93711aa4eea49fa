import { type AcpiTables, buildAcpiTables } from '@tsvisor/devices-pc';
import { IO_APIC, LOCAL_APIC, PM, RTC, SERIAL } from './map.ts';

/** The tables of a microvm with `cpus` processors and `serialPorts` UARTs. Its keyboard controller is not mentioned: nobody types. */
export function microvmAcpi(cpus: number, serialPorts: number): AcpiTables {
  return buildAcpiTables({
    apicIds: Array.from({ length: cpus }, (_, cpu) => cpu),
    localApicAddress: LOCAL_APIC,
    ioApics: [{ id: 0, address: IO_APIC, gsiBase: 0 }],
    interruptOverrides: [
      // The 8254 is wired to the IOAPIC's pin 2; the SCI is shared and therefore level-triggered (ACPI 6.4 §4.8.1.2).
      { isaIrq: 0, gsi: 2 },
      { isaIrq: PM.sciGsi, gsi: PM.sciGsi, polarity: 'high', trigger: 'level' },
    ],
    pm: PM,
    serial: SERIAL.slice(0, serialPorts).map(({ port, irq }) => ({ port, irq })),
    rtc: RTC,
  });
}
