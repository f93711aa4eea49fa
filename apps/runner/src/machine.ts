import type { MachineFactory } from './ports.ts';

/** Loads the code that makes machines; nothing that only prints help needs it. */
export async function loadMachineFactory(): Promise<MachineFactory> {
  const { microvm } = await import('@tsvisor/machines');
  return microvm;
}
