import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Compile, CompiledJob, CompileService, RegionCompiler } from '@tsvisor/machines/compiler';

type Answer = { readonly slot: number; readonly compiled: CompiledJob | undefined };
type Done = Parameters<Compile>[1];

/** A compiler beside the vCPU's thread; undefined where the host has one processor. */
export function compileThread(): ((service: CompileService) => RegionCompiler) | undefined {
  return availableParallelism() < 2 ? undefined : serve;
}

/** The thread lives as long as its vCPU; what it does not come to is interpreted. */
function serve(service: CompileService): RegionCompiler {
  const waiting = new Map<number, Done>();
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const worker = new Worker(new URL(`./compile.worker.${extension}`, import.meta.url), {
    workerData: service,
    // It makes no garbage worth keeping.
    resourceLimits: { maxYoungGenerationSizeMb: 4 },
  });
  worker.unref();
  let alive = true;
  worker.on('message', ({ slot, compiled }: Answer) => {
    const done = waiting.get(slot);
    waiting.delete(slot);
    done?.(compiled);
  });
  worker.on('error', (error) => {
    alive = false;
    process.emitWarning(`the compiler's thread has ended: ${error.message}`);
    for (const done of waiting.values()) done(undefined);
    waiting.clear();
  });
  return {
    compile: (job, done) => {
      if (!alive) {
        done(undefined);
        return;
      }
      waiting.set(job.slot, done);
      worker.postMessage(job);
    },
    dispose: () => {
      alive = false;
      waiting.clear();
      void worker.terminate();
    },
  };
}
