import type { RunEnd, Vm } from '@tsvisor/vmm-core';
import { MachineError } from '../errors.ts';
import type { GuestExit, Machine } from '../machine.ts';
import type { SerialInput } from '../serial-input.ts';
import type { Driver } from './driver.ts';

export type RunnerParts = {
  readonly vm: Vm;
  readonly driver: Driver;
  readonly inputs: readonly [SerialInput, SerialInput];
  /** What the guest gave to an exit port, if it did. */
  readonly exitStatus: () => number | undefined;
  readonly disposeVm: () => Promise<void>;
  readonly disposeDevices: () => void;
};

/** The finished machine as its caller drives it. */
export function createRunner({ vm, driver, inputs, exitStatus, disposeVm, disposeDevices }: RunnerParts): Machine {
  let firstInstructionMs = 0;
  /** Settles, never rejects, when the guest has left. */
  let running: Promise<unknown> | undefined;
  let disposed: Promise<void> | undefined;
  const takeDown = async (): Promise<void> => {
    driver.stop();
    // A device may have called this: the guest is to be gone before devices are.
    await Promise.all([running, disposeVm()]);
    disposeDevices();
  };
  return {
    vm,
    start: async () => {
      if (disposed) throw new MachineError('MACHINES_DISPOSED', 'the machine is gone');
      firstInstructionMs = performance.now();
      const run = driver.run();
      running ??= Promise.allSettled([run]).then(() => {
        running = undefined;
      });
      return toGuestExit(await run, exitStatus());
    },
    sendSerial: (port, bytes) => inputs[port].send(bytes),
    stop: () => driver.stop(),
    stats: () => {
      const { guestNs = 0, idleNs = 0, ...counts } = driver.counters();
      const { instructions = 0, ...processors } = driver.processors();
      const stats: Record<string, number | string> = {
        'machine.first instruction ms': Math.round(firstInstructionMs),
        'machine.memory used MiB': Math.round(vm.arena.used() / 2 ** 20),
        'guest.instructions': instructions,
        'guest.run ms': Math.round(guestNs / 1e6),
        'guest.idle ms': Math.round(idleNs / 1e6),
        'guest.MIPS': guestNs > 0 ? Math.round((instructions / guestNs) * 1000) : 0,
      };
      for (const [name, count] of Object.entries(counts)) stats[`loop.${name}`] = count;
      for (const [name, count] of Object.entries(processors)) stats[`cpu.${name}`] = count;
      return stats;
    },
    dispose: () => {
      disposed ??= takeDown();
      return disposed;
    },
  };
}

/** `status`: of an exit port, if that was why the machine was shut down. */
export function toGuestExit(end: RunEnd, status?: number): GuestExit {
  switch (end.reason) {
    case 'system-event':
      if (end.event === 'shutdown' && status !== undefined) return { reason: 'exit', status };
      return { reason: end.event === 'shutdown' ? 'poweroff' : 'reset' };
    case 'shutdown':
      return { reason: 'triple-fault' };
    case 'internal-error':
      return { reason: 'error', message: end.message };
    case 'stopped':
      return { reason: 'stopped' };
  }
}
