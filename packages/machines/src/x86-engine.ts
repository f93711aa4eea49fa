import { machineCore } from './core.ts';
import type { Engine } from './ports.ts';
import { x86Model } from './x86-model.ts';

/** The engine of x86-cpu, with the core that this package has of it. */
export const x86Engine: Engine = {
  model: (specification, options) => x86Model(specification, options, machineCore()),
  code: machineCore,
};
