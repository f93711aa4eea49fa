/** The devices of a microvm as plugins: what each needs, and where its registers and interrupts go. */
import {
  acpiPmLayout,
  createAcpiPm,
  createDebugConsole,
  createDebugExit,
  createDelayPort,
  createFwCfg,
  createI8042,
  createPcTestdev,
  createPort92,
  createRtc,
  createUart16550,
  delayPortLayout,
  type FwCfgPorts,
  fwCfgLayout,
  i8042Layout,
  pcTestdevLayout,
  port92Layout,
  rtcLayout,
  TESTDEV_LINES,
  TESTDEV_MEMORY,
  TestdevPort,
  uart16550Layout,
} from '@tsvisor/devices-pc';
import type { Device, IoDevice, Plugin } from '@tsvisor/vmm-core';
import type { SerialSink } from '../ports.ts';
import type { SerialInput } from '../serial-input.ts';
import type { Services } from '../services.ts';
import type { TestDevice } from '../test-device.ts';
import { DELAY_PORT, FW_CFG, KEYBOARD, PCI_ADDRESS, PM, PORT_92, RTC, SERIAL } from './map.ts';

/** A device is gone when what it registered is. */
const made = (registrations: readonly Disposable[]): Device => ({
  dispose: () => {
    for (const registration of registrations) registration[Symbol.dispose]();
  },
});

export function uartPlugin(
  index: 0 | 1,
  sink: SerialSink,
  input: SerialInput,
  onFlush: (flush: () => void) => void,
): Plugin<Services, 'ports' | 'irqLine' | 'clock' | 'state'> {
  const { name, port, irq } = SERIAL[index];
  return {
    name,
    needs: ['ports', 'irqLine', 'clock', 'state'],
    create: ({ ports, irqLine, clock, state }) => {
      const line = irqLine(irq);
      const uart = createUart16550({
        state: state(uart16550Layout),
        irq: line,
        clock,
        backend: sink,
        onReceiveSpace: () => input.drain(),
      });
      input.connect(uart);
      onFlush(uart.flush);
      return made([ports.register({ base: port, size: 8, name, width: 1 }, uart.io), line]);
    },
  };
}

export function rtcPlugin(memory: {
  readonly memoryBelow4G: number;
  readonly memoryAbove4G: number;
}): Plugin<Services, 'ports' | 'irqLine' | 'clock' | 'state'> {
  return {
    name: 'rtc',
    needs: ['ports', 'irqLine', 'clock', 'state'],
    create: ({ ports, irqLine, clock, state }) => {
      const line = irqLine(RTC.irq);
      const rtc = createRtc({ state: state(rtcLayout), irq: line, clock, machine: memory });
      return made([ports.register({ base: RTC.port, size: 4, name: 'rtc', width: 1 }, rtc.io), line]);
    },
  };
}

export const acpiPmPlugin: Plugin<Services, 'ports' | 'irqLine' | 'clock' | 'state' | 'power'> = {
  name: 'acpi-pm',
  needs: ['ports', 'irqLine', 'clock', 'state', 'power'],
  create: ({ ports, irqLine, clock, state, power }) => {
    const sci = irqLine(PM.sciGsi);
    const pm = createAcpiPm({
      state: state(acpiPmLayout),
      sci,
      clock,
      timerBits: PM.timerBits,
      onPowerOff: power.off,
      onReset: power.reset,
    });
    return made([
      ports.register({ base: PM.event, size: 4, name: 'pm1-event', width: 2 }, pm.event),
      ports.register({ base: PM.control, size: 2, name: 'pm1-control', width: 2 }, pm.control),
      ports.register({ base: PM.timer, size: 4, name: 'pm-timer' }, pm.timer),
      ports.register({ base: PCI_ADDRESS, size: 4, name: 'reset-control', width: 4 }, behindPciAddress(pm.resetControl)),
      sci,
    ]);
  },
};

/**
 * The reset register is a byte within PCI's configuration address, and of byte accesses only: what is wider goes to that, of which a machine
 * without PCI has none (Intel 82801 datasheet, RST_CNT at 0CF9h; PCI Local Bus specification 3.0, §3.2.2.3.2).
 */
function behindPciAddress(reset: IoDevice): IoDevice {
  const isReset = (offset: number, length: number): boolean => length === 1 && offset === PM.resetPort - PCI_ADDRESS;
  return {
    read: (offset, length) => (isReset(offset, length) ? reset.read(0, 1) : 0xffff_ffff),
    write: (offset, length, value) => {
      if (isReset(offset, length)) reset.write(0, 1, value);
    },
  };
}

/** The keyboard controller, kept for what else hangs on it: the reset pulse and a gate of address line 20. */
export const i8042Plugin: Plugin<Services, 'ports' | 'irqLine' | 'state' | 'power' | 'a20'> = {
  name: 'i8042',
  needs: ['ports', 'irqLine', 'state', 'power', 'a20'],
  create: ({ ports, irqLine, state, power, a20 }) => {
    const keyboardIrq = irqLine(KEYBOARD.irq);
    const auxIrq = irqLine(KEYBOARD.auxIrq);
    const controller = createI8042({ state: state(i8042Layout), keyboardIrq, auxIrq, onA20: a20(), onReset: power.reset });
    return made([
      ports.register({ base: KEYBOARD.data, size: 1, name: 'i8042-data', width: 1 }, controller.data),
      ports.register({ base: KEYBOARD.command, size: 1, name: 'i8042-command', width: 1 }, controller.command),
      keyboardIrq,
      auxIrq,
    ]);
  },
};

export const port92Plugin: Plugin<Services, 'ports' | 'state' | 'power' | 'a20'> = {
  name: 'port-92',
  needs: ['ports', 'state', 'power', 'a20'],
  create: ({ ports, state, power, a20 }) => {
    const port = createPort92({ state: state(port92Layout), onA20: a20(), onReset: power.reset });
    return made([ports.register({ base: PORT_92, size: 1, name: 'port-92', width: 1 }, port.io)]);
  },
};

export const delayPortPlugin: Plugin<Services, 'ports' | 'state'> = {
  name: 'delay-port',
  needs: ['ports', 'state'],
  create: ({ ports, state }) => {
    const port = createDelayPort({ state: state(delayPortLayout) });
    return made([ports.register({ base: DELAY_PORT, size: 1, name: 'delay-port', width: 1 }, port.io)]);
  },
};

/** The firmware configuration device, which software without an operating system asks for the machine's size. */
export const fwCfgPlugin = (size: Pick<FwCfgPorts, 'ramSize' | 'cpus' | 'maxCpus'>): Plugin<Services, 'ports' | 'state'> => ({
  name: 'fw-cfg',
  needs: ['ports', 'state'],
  create: ({ ports, state }) => {
    const device = createFwCfg({ state: state(fwCfgLayout), ...size });
    return made([ports.register({ base: FW_CFG, size: 2, name: 'fw-cfg', width: 2 }, device.io)]);
  },
});

const pcTestdevPlugin: Plugin<Services, 'ports' | 'mmio' | 'irqLine' | 'state'> = {
  name: 'pc-testdev',
  needs: ['ports', 'mmio', 'irqLine', 'state'],
  create: ({ ports, mmio, irqLine, state }) => {
    const lines = Array.from({ length: TESTDEV_LINES }, (_, gsi) => irqLine(gsi));
    const device = createPcTestdev({ state: state(pcTestdevLayout), irqLine: (n) => lines[n] });
    return made([
      ports.register({ base: TestdevPort.latch, size: 4, name: 'testdev-latch' }, device.latch),
      ports.register({ base: TestdevPort.flush, size: 4, name: 'testdev-flush' }, device.flush),
      ports.register({ base: TestdevPort.byteLatch, size: 4, name: 'testdev-bytes', width: 1 }, device.byteLatch),
      ports.register({ base: TestdevPort.irq, size: TESTDEV_LINES, name: 'testdev-irq', width: 1 }, device.irq),
      mmio.register({ base: TESTDEV_MEMORY.gpa, size: TESTDEV_MEMORY.size, name: 'testdev-memory' }, device.memory),
      ...lines,
    ]);
  },
};

export function testDevicePlugin(
  device: TestDevice,
  onFlush: (flush: () => void) => void,
): Plugin<Services, 'ports' | 'power' | 'mmio' | 'irqLine' | 'state'> {
  if (device.kind === 'pc-testdev') return pcTestdevPlugin;
  const { kind: name, port: base } = device;
  return {
    name,
    needs: ['ports', 'power'],
    create: ({ ports, power }) => {
      if (device.kind === 'isa-debug-exit')
        return made([ports.register({ base, size: device.size, name }, createDebugExit({ onExit: power.exit }).io)]);
      const console = createDebugConsole({ backend: device.sink });
      onFlush(console.flush);
      return made([ports.register({ base, size: 1, name, width: 1 }, console.io)]);
    },
  };
}
