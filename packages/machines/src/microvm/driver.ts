/** How a machine's processors are run: by turns on this thread, or each on its own. */
import { type Host, KvmError, type RemoteVcpu, type RunEnd, RunLoop, type Vcpu, type Vm } from '@tsvisor/vmm-core';
import type { EngineModel } from '../ports.ts';

export type Driver = {
  readonly vcpus: readonly (Vcpu | RemoteVcpu)[];
  readonly run: () => Promise<RunEnd>;
  readonly stop: () => void;
  /** Counts and times (ns) of the run loops together, and of the processors. */
  readonly counters: () => Readonly<Record<string, number>>;
  readonly processors: () => Readonly<Record<string, number>>;
};

type Counts = Readonly<Record<string, number>>;

function sum(all: readonly Counts[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const counts of all) for (const [name, count] of Object.entries(counts)) total[name] = (total[name] ?? 0) + count;
  return total;
}

export function inlineDriver(vm: Vm, model: EngineModel, host: Host, flush: () => void): Driver {
  const vcpus = Array.from({ length: vm.cpus }, (_, id) => vm.createVcpu(id, model));
  const loop = new RunLoop({ vm, vcpus, host, flush });
  return {
    vcpus,
    run: () => loop.run(),
    stop: () => loop.stop(),
    counters: () => loop.counters,
    processors: () => sum(vcpus.map(({ processor }) => ({ ...processor.stats(), instructions: processor.instructions }))),
  };
}

/** Counters are those of the last run that ended. */
export function threadDriver(vm: Vm, flush: () => void): Driver {
  const { threads } = vm;
  if (threads === undefined) throw new KvmError('ENXIO', 'the virtual machine was made without threads');
  const vcpus = Array.from({ length: vm.cpus }, (_, id) => vm.startVcpu(id));
  return {
    vcpus,
    run: () => threads.run(flush),
    stop: () => threads.stop(),
    counters: () => sum(vcpus.map((vcpu) => vcpu.stats().loop)),
    processors: () => sum(vcpus.map((vcpu) => vcpu.stats().processor)),
  };
}
