import { DevicesPcError } from '../errors.ts';

/** An ISA interrupt that does not arrive at the global interrupt of its own number, or not edge-triggered and active high. */
export type InterruptOverride = {
  readonly isaIrq: number;
  readonly gsi: number;
  /** Left out: as the bus has it. */
  readonly polarity?: 'high' | 'low';
  readonly trigger?: 'edge' | 'level';
};

/** What the tables say about a machine. Addresses are guest-physical or ports. */
export type AcpiConfig = {
  /** Local APIC id of each processor, 0 to 254; the order gives the processors' ACPI ids. */
  readonly apicIds: readonly number[];
  readonly localApicAddress: number;
  readonly ioApics: readonly { readonly id: number; readonly address: number; readonly gsiBase: number }[];
  readonly interruptOverrides: readonly InterruptOverride[];
  /** Ports of the ACPI fixed hardware. */
  readonly pm: {
    readonly event: number;
    readonly control: number;
    readonly timer: number;
    readonly timerBits: 24 | 32;
    readonly sciGsi: number;
    readonly resetPort: number;
  };
  readonly serial: readonly { readonly port: number; readonly irq: number }[];
  readonly rtc?: { readonly port: number; readonly irq: number };
  /** Left out: the tables tell systems not to look for a keyboard controller. */
  readonly keyboardController?: { readonly dataPort: number; readonly commandPort: number; readonly irq: number };
};

const isInt = (value: number, limit: number): boolean => Number.isInteger(value) && value >= 0 && value < limit;

/** @throws DevicesPcError `DEVICES_PC_CONFIG` naming what no table can say */
export function checkConfig(config: AcpiConfig): void {
  const demand = (holds: boolean, what: string): void => {
    if (!holds) throw new DevicesPcError('DEVICES_PC_CONFIG', `ACPI tables: ${what}`);
  };
  const { pm } = config;
  demand(config.apicIds.length > 0, 'a machine has at least one processor');
  demand(new Set(config.apicIds).size === config.apicIds.length, 'two processors have the same APIC id');
  for (const id of config.apicIds) demand(isInt(id, 255), `APIC id ${id} is not 0 to 254`);
  demand(isInt(config.localApicAddress, 2 ** 32), 'the local APIC lies below 4 GiB');
  for (const { id, address } of config.ioApics)
    demand(isInt(id, 256) && isInt(address, 2 ** 32), `I/O APIC ${id} at ${address} cannot be described`);
  for (const { isaIrq } of config.interruptOverrides) demand(isInt(isaIrq, 16), `ISA IRQ ${isaIrq} does not exist`);
  for (const port of [pm.event, pm.control, pm.timer, pm.resetPort]) demand(isInt(port, 0x1_0000), `${port} is not a port`);
  demand(isInt(pm.sciGsi, 0x1_0000), `SCI ${pm.sciGsi} is not an interrupt`);
  const legacy = [...config.serial];
  if (config.rtc !== undefined) legacy.push(config.rtc);
  if (config.keyboardController !== undefined) {
    const { dataPort, commandPort, irq } = config.keyboardController;
    legacy.push({ port: dataPort, irq }, { port: commandPort, irq });
  }
  for (const { port, irq } of legacy)
    demand(isInt(port, 0x1_0000) && isInt(irq, 16), `port ${port}, IRQ ${irq} is not an ISA device`);
}
