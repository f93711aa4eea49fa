import { codeOf, RunnerError } from './errors.ts';
import type { MachineFactory } from './ports.ts';

/** The package that provides machines; a variable, so that this package's types do not depend on it. */
const PROVIDER: string = '@tsvisor/machines';

/**
 * Loads the machine provider, whose `microvm` must fit {@link MachineFactory}.
 * @throws RunnerError RUNNER_NO_MACHINE
 */
export async function loadMachineFactory(): Promise<MachineFactory> {
  let provider: unknown;
  try {
    provider = await import(PROVIDER);
  } catch (error) {
    if (codeOf(error) !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new RunnerError('RUNNER_NO_MACHINE', `this build cannot run guests: ${PROVIDER} is not part of it`, { cause: error });
  }
  const factory = typeof provider === 'object' && provider !== null && 'microvm' in provider ? provider.microvm : undefined;
  if (!isFactory(factory)) throw new RunnerError('RUNNER_NO_MACHINE', `${PROVIDER} offers no microvm`);
  return factory;
}

const isFactory = (value: unknown): value is MachineFactory =>
  typeof value === 'object' && value !== null && 'create' in value && typeof value.create === 'function';
