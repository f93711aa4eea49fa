import { setFlagsFromString } from 'node:v8';
import { KeptModule } from './code-cache/kept-module.ts';
import type { MachineConfig, MachineFactory } from './ports.ts';

const V8_FLAGS = [
  // Compiled regions are many small modules of our own making, most of them short-lived. V8 validates a module as a whole when it is made,
  // which takes longer than all else about it; this leaves that to the compilation of each function.
  '--wasm-lazy-validation',
  // Generated code says which branches lead out of its way, so that V8 need not keep registers in memory for what is behind them.
  '--experimental-wasm-branch-hinting',
  // Regions are hot when they are made, and still V8 would optimise most of them within a millisecond. That is the most expensive thing
  // done for them; with more runs asked for, fewer of a booting kernel's come so far.
  '--wasm-tiering-budget=60000000',
  // Most of our own code has done its work by the time that V8 would optimise it; what is called on and on gets there soon enough.
  '--invocation-count-for-turbofan=30000',
  // Nearly all memory is the guest's. A young generation that grows takes 50 MB beside it and saves next to no time.
  '--semi-space-growth-factor=1',
];

/** Loads the code that makes machines; nothing that only prints help needs it. `codeFolder`: where compiled code of earlier runs is, if it is kept. */
export async function loadMachineFactory(codeFolder?: string) {
  for (const flag of V8_FLAGS) setFlagsFromString(flag);
  const [{ createMicrovmFactory, createX86Engine }, { compileThread, keepCompiledCode }, { vcpuThreads }] = await Promise.all([
    import('@tsvisor/machines'),
    import('./compile-thread.ts'),
    import('./vcpu-threads.ts'),
  ]);
  const core = codeFolder === undefined ? undefined : new KeptModule(codeFolder);
  const microvm = createMicrovmFactory(createX86Engine(core?.compile));
  let machines = 0;
  return {
    create: ({ inline = false, ...config }: MachineConfig) => {
      const machine = machines++;
      const compiler = compileThread(machine, codeFolder);
      const threads = inline ? undefined : vcpuThreads(machine, codeFolder);
      return microvm.create({ ...config, ...(compiler && { compiler }), ...(threads && { threads }) });
    },
    /** When machines have ended. */
    keepCode: async () => {
      await keepCompiledCode();
      try {
        core?.save('interpret');
      } catch {
        // A folder that cannot be written to: later runs compile what this one did.
      }
    },
  } satisfies MachineFactory & { readonly keepCode: () => Promise<void> };
}
