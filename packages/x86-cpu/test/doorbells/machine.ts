/** Doorbells as several vCPUs have them: the table and events in shared memory, and the functions of the core that ring. */
import { EVENTFD_LAYOUT, EventFd } from '@tsvisor/eventfd';
import { createMmioBus, createPioBus, DOORBELL_LAYOUT, DoorbellTable, doorbellTableBytes, type IoEvent } from '@tsvisor/io-bus';
import { ModuleBuilder } from '@tsvisor/wasm-codegen';
import { addDoorbells } from '../../src/core/doorbells.ts';
import { importMemory } from '../../src/core/imports.ts';

const TABLE = 0x1_0000;
export const CPUS = 2;

export type Ringer = {
  readonly ringMemory: (gpa: bigint, value: bigint, size: number) => number;
  readonly ringPort: (port: bigint, value: bigint, size: number) => number;
};

function ringModule(): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder({ checked: true });
  importMemory(module);
  const { counter, readers } = EVENTFD_LAYOUT;
  const { ringMemory, ringPort } = addDoorbells(module, {
    doorbells: module.importGlobal('env', 'doorbells', 'i32'),
    doorbellReader: module.importGlobal('env', 'doorbellReader', 'i32'),
    doorbellLayout: { ...DOORBELL_LAYOUT, eventfd: { counter, readers } },
  });
  module.exportFunction('ringMemory', ringMemory);
  module.exportFunction('ringPort', ringPort);
  return module.build();
}

/** The functions for one vCPU; in any thread. */
export function ringer(memory: WebAssembly.Memory, reader: number): Ringer {
  const global = (value: number) => new WebAssembly.Global({ value: 'i32' }, value);
  const env = { memory, doorbells: global(TABLE), doorbellReader: global(reader) };
  return new WebAssembly.Instance(new WebAssembly.Module(ringModule()), { env }).exports as unknown as Ringer;
}

export function doorbellMachine() {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536, shared: true });
  const { buffer } = memory;
  const addresses = new WeakMap<IoEvent, number>();
  const addressOf = (event: IoEvent) => addresses.get(event);
  const table = new DoorbellTable({ buffer, byteOffset: TABLE, cpus: CPUS, addressOf });
  let next = TABLE + doorbellTableBytes(CPUS);
  const createEventFd = (initial = 0n): EventFd => {
    const event = EventFd.create({ initial, memory: { buffer, byteOffset: next } });
    addresses.set(event, next);
    next += EVENTFD_LAYOUT.size;
    return event;
  };
  const buses = { mmio: createMmioBus({ doorbells: table }), pio: createPioBus({ doorbells: table }) };
  return { memory, table, buses, createEventFd };
}
