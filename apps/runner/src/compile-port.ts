import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Compile, CompiledJob, CompileJob, CompileService, OfferedBlocks, RegionCompiler } from '@tsvisor/machines/compiler';
import { codePath, openKept, type Use } from './code-cache/code-cache.ts';

/** A vCPU that wants its regions compiled, and where the jobs come from and the answers go. */
export type Customer = { readonly service: CompileService; readonly port: MessagePort };
/** One of a machine: its vCPUs share what is compiled for them. */
export type CustomerOf = Customer & { readonly machine: number; readonly codeFolder: string | undefined };
/** `ahead`: a job for later runs; `used`: a bundle of kept regions runs. */
export type Question =
  | { readonly id: number; readonly job: CompileJob }
  | { readonly ahead: CompileJob }
  | { readonly used: Use };
/** What became of a job, or what another vCPU's has made. */
export type Answer = { readonly id: number; readonly compiled: CompiledJob | undefined } | { readonly offer: OfferedBlocks };
type Done = Parameters<Compile>[1];

/**
 * Has regions compiled on another thread, which is introduced to the vCPU by `introduce`; what that does not come to is interpreted. `codeFolder`: where
 * regions of earlier runs are, if they are kept.
 */
export function compileElsewhere(
  service: CompileService,
  introduce: (customer: Customer) => void,
  codeFolder: string | undefined,
): RegionCompiler {
  const { port1: port, port2 } = new MessageChannel();
  introduce({ service, port: port2 });
  const waiting = new Map<number, Done>();
  let asked = 0;
  let onOffer: (blocks: OfferedBlocks) => void = () => undefined;
  let alive = true;
  const end = (): void => {
    alive = false;
    for (const done of waiting.values()) done(undefined);
    waiting.clear();
  };
  port.on('message', (answer: Answer) => {
    if ('offer' in answer) {
      if (alive) onOffer(answer.offer);
      return;
    }
    const { id, compiled } = answer;
    const done = waiting.get(id);
    waiting.delete(id);
    done?.(compiled);
  });
  port.on('close', end);
  // Nobody waits for code that nobody will run.
  port.unref();
  const use = (used: Use): void => port.postMessage({ used } satisfies Question);
  const kept = codeFolder === undefined ? undefined : openKept(codePath(codeFolder, service), use);
  return {
    ...(kept && { kept, compileAhead: (ahead: CompileJob) => port.postMessage({ ahead } satisfies Question) }),
    compile: (job, done) => {
      if (!alive) {
        done(undefined);
        return;
      }
      const id = asked++;
      waiting.set(id, done);
      port.postMessage({ id, job } satisfies Question);
    },
    onOffer: (fn) => {
      onOffer = fn;
    },
    dispose: () => {
      waiting.clear();
      alive = false;
      port.close();
    },
  };
}
