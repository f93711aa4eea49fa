import { type LinuxBootPlan, LOW_RAM_LIMIT, loadKernel } from '@tsvisor/boot';
import type { AcpiTables } from '@tsvisor/devices-pc';
import { buildPlugins, createInstructionHost, type Host, Kvm, systemHost, type Vm, type VmOptions } from '@tsvisor/vmm-core';
import { createA20 } from '../a20.ts';
import { checkKernelFits } from '../cpu-model.ts';
import { applyEntryState } from '../entry-state.ts';
import { MachineError } from '../errors.ts';
import type { Machine, MachineConfig, MachineFactory } from '../machine.ts';
import type { Engine, EngineModel, EngineOptions } from '../ports.ts';
import { sameNumbers } from '../same-numbers.ts';
import { SerialInput } from '../serial-input.ts';
import type { Services } from '../services.ts';
import { microvmAcpi } from './acpi.ts';
import {
  acpiPmPlugin,
  delayPortPlugin,
  fwCfgPlugin,
  i8042Plugin,
  port92Plugin,
  rtcPlugin,
  testDevicePlugin,
  uartPlugin,
} from './devices.ts';
import { type Driver, inlineDriver, threadDriver } from './driver.ts';
import { RESET_ENTRY } from './map.ts';
import { addMemory, checkFirmware } from './memory.ts';
import { createRunner } from './run.ts';

const MiB = 2 ** 20;
/** Linear memory ends at 4 GiB, and the engine needs its part. */
const MAX_MEMORY = 3840 * MiB;

/**
 * Machines without a graphics card, disks or a PCI bus: processor, RAM, interrupt controllers, serial ports, clock and power. The
 * guest is a kernel that is entered directly, without firmware, or it is firmware.
 */
export function createMicrovmFactory(engine: Engine, host: Host = systemHost): MachineFactory {
  return { create: (config) => createMicrovm(config, engine, host) };
}

const engineOptions = ({ tier, compiler, onRegion, deterministic }: MachineConfig): EngineOptions => ({
  ...(tier === undefined ? {} : { tier }),
  ...(deterministic ? { entropy: sameNumbers(), reproducible: true } : {}),
  ...(compiler === undefined || deterministic ? {} : { compiler }),
  ...(onRegion === undefined ? {} : { onRegion }),
});

function vmThreads(
  { threads, cpuModel, tier, onRegion, deterministic }: MachineConfig,
  engine: Engine,
): Pick<VmOptions, 'threads'> {
  // Whoever looks at compiled code is on this thread.
  if (threads === undefined || onRegion !== undefined || deterministic) return {};
  const { start, parallelism } = threads;
  const code = engine.code?.();
  return { threads: { parallelism, start: (spec) => start({ spec, cpuModel, ...(tier && { tier }), ...(code && { code }) }) } };
}

/** Where a machine begins whose time is its own. */
const DETERMINISTIC_START = BigInt(Date.UTC(2025, 0, 1)) * 1_000_000n;

/** Time by what the processors have done, and a model that tells of those it makes. */
function countedTime(model: EngineModel, host: Host): { readonly model: EngineModel; readonly host: Host } {
  const processors: { readonly instructions: number }[] = [];
  const instructions = (): number => processors.reduce((sum, processor) => sum + processor.instructions, 0);
  return {
    model: {
      ...model,
      createProcessor: (config) => {
        const processor = model.createProcessor(config);
        processors.push(processor);
        return processor;
      },
    },
    host: createInstructionHost({ instructions, startNs: DETERMINISTIC_START, host }),
  };
}

async function createMicrovm(config: MachineConfig, engine: Engine, realHost: Host): Promise<Machine> {
  const plainModel = engine.model(config.cpuModel, engineOptions(config));
  const { model, host } = config.deterministic ? countedTime(plainModel, realHost) : { model: plainModel, host: realHost };
  if (config.memoryBytes > MAX_MEMORY)
    throw new MachineError('MACHINES_MEMORY', `a guest can have at most ${MAX_MEMORY / MiB} MiB of memory`);
  const cpus = config.cpus ?? 1;
  const serialPorts = config.serial[1] === undefined ? 1 : 2;
  const acpi = microvmAcpi(cpus, serialPorts);
  const firmware = 'firmware' in config ? config.firmware : undefined;
  if (firmware !== undefined) checkFirmware(firmware);
  const plan =
    'firmware' in config
      ? undefined
      : await loadKernel({
          kernel: config.kernel,
          cmdline: config.cmdline,
          memory: { size: config.memoryBytes },
          acpiRsdp: acpi.rsdpAddress,
          ...(config.initrd === undefined ? {} : { initrd: config.initrd }),
        });
  if (plan !== undefined) checkKernelFits(plan, config.cpuModel, model.cpuid);

  const kvm = new Kvm({ createProcessor: model.createProcessor, host });
  let devices: Devices | undefined;
  try {
    const vm = kvm.createVm({ memoryBytes: config.memoryBytes, cpus, ...vmThreads(config, engine) });
    addMemory(vm, config.memoryBytes, firmware);
    vm.createIrqchip();
    vm.createPit2();
    devices = addDevices(vm, config);
    const { inputs, flush, exitStatus, dispose: disposeDevices } = devices;
    const driver = vm.threads ? threadDriver(vm, flush) : inlineDriver(vm, model, host, flush);
    // Firmware makes tables and entries of its own, and is entered as a processor comes out of reset.
    if (plan !== undefined) await loadGuest(vm, driver.vcpus[0], plan, acpi);
    return createRunner({ vm, driver, inputs, exitStatus, disposeVm: () => kvm.dispose(), disposeDevices });
  } catch (error) {
    await kvm.dispose();
    devices?.dispose();
    throw error;
  }
}

type Devices = {
  readonly inputs: readonly [SerialInput, SerialInput];
  /** Hands on what the UARTs have collected. */
  readonly flush: () => void;
  /** What the guest gave to an exit port, if it did. */
  readonly exitStatus: () => number | undefined;
  readonly dispose: () => void;
};

function addDevices(vm: Vm, config: MachineConfig): Devices {
  const inputs = [new SerialInput(), new SerialInput()] as const;
  const flushes: (() => void)[] = [];
  let status: number | undefined;
  const services: Services = {
    ports: vm.pio,
    mmio: vm.mmio,
    irqLine: (gsi) => vm.irqchip.irqLine(gsi),
    clock: vm.clock,
    state: ({ size, align }) => ({
      buffer: vm.arena.memory.buffer,
      byteOffset: vm.arena.alloc(size, Math.max(align, 64)),
    }),
    power: {
      off: () => vm.raiseSystemEvent('shutdown'),
      reset: () => vm.raiseSystemEvent('reset'),
      exit: (given) => {
        status ??= given;
        vm.raiseSystemEvent('shutdown');
      },
    },
    a20: createA20((open) => vm.setA20(open)),
  };
  const onFlush = (flush: () => void): void => void flushes.push(flush);
  const [first, second] = config.serial;
  const low = Math.min(config.memoryBytes, LOW_RAM_LIMIT);
  const built = buildPlugins<Services>(services, [
    uartPlugin(0, first, inputs[0], onFlush),
    ...(second === undefined ? [] : [uartPlugin(1, second, inputs[1], onFlush)]),
    rtcPlugin({ memoryBelow4G: low, memoryAbove4G: config.memoryBytes - low }),
    acpiPmPlugin,
    i8042Plugin,
    port92Plugin,
    delayPortPlugin,
    fwCfgPlugin({ ramSize: config.memoryBytes, cpus: vm.cpus, maxCpus: vm.cpus }),
    ...(config.testDevices ?? []).map((device) => testDevicePlugin(device, onFlush)),
  ]);
  const flush = (): void => {
    for (const flushOne of flushes) flushOne();
  };
  return { inputs, flush, exitStatus: () => status, dispose: built.dispose };
}

async function loadGuest(vm: Vm, vcpu: Driver['vcpus'][0], plan: LinuxBootPlan, acpi: AcpiTables): Promise<void> {
  for (const { address, bytes } of acpi.blobs) vm.memory.write(address, bytes);
  vm.memory.write(RESET_ENTRY.address, Uint8Array.from(RESET_ENTRY.code));
  for (const { gpa, bytes } of plan.segments) vm.memory.write(gpa, bytes);
  await applyEntryState(vcpu, plan.entry);
}
