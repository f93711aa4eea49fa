/** A thread that compiles vCPUs' hot regions: each message is a vCPU, each message of that one's port a job, each answer what became of it. */
import { type MessagePort, parentPort } from 'node:worker_threads';
import { createCompiler, RegionPool } from '@tsvisor/machines/compiler';
import { CodeCollector, codePath } from './code-cache/code-cache.ts';
import type { Answer, CustomerOf, Question } from './compile-port.ts';
import { isSystemError } from './errors.ts';
import { IdleQueue } from './idle-queue.ts';

/** As much as a vCPU keeps. */
const POOL_BYTES = 8 << 20;
/** Time at the end that what is left of the jobs for later runs may take. */
const MS_AT_END = 1000;

/** What a machine's vCPUs share, and who they are. */
const machines = new Map<number, { readonly pool: RegionPool; readonly ports: Set<MessagePort> }>();
/** What is new for later runs, by the file that it will be in. */
const collectors = new Map<string, CodeCollector>();
const later = new IdleQueue();
/** For each vCPU that is there, what has its runs noted. */
const running = new Set<() => void>();

function collectorOf({ service, codeFolder }: CustomerOf): CodeCollector | undefined {
  if (codeFolder === undefined) return undefined;
  const path = codePath(codeFolder, service);
  const collector = collectors.get(path) ?? new CodeCollector(path);
  collectors.set(path, collector);
  return collector;
}

function serve(customer: CustomerOf): void {
  const { service, port, machine } = customer;
  const { pool, ports } = machines.get(machine) ?? { pool: new RegionPool(POOL_BYTES), ports: new Set() };
  machines.set(machine, { pool, ports });
  ports.add(port);
  const collector = collectorOf(customer);
  const compiler = createCompiler(service, { pool, ...(collector && { keep: collector.add }) });
  const noteRuns = (): void => collector?.addRuns(compiler.blockRuns(collector.runsBefore));
  running.add(noteRuns);
  port.on('message', (question: Question) => {
    if ('used' in question) {
      collector?.used(question.used);
      return;
    }
    if ('ahead' in question) {
      const compile = compiler.ahead(question.ahead);
      // A function's first block before the others of it, so that all are in one region.
      later.add(question.ahead.host, () => {
        if (collector?.isFull === false) compile();
      });
      return;
    }
    const { id, job } = question;
    const compiled = compiler.run(job);
    port.postMessage({ id, compiled } satisfies Answer);
    if (compiled?.origin !== 'made') return;
    const { key, entries } = compiled;
    for (const other of ports) if (other !== port) other.postMessage({ offer: { key, entries } } satisfies Answer);
  });
  port.on('close', () => {
    ports.delete(port);
    if (running.delete(noteRuns)) noteRuns();
    if (ports.size === 0) machines.delete(machine);
  });
}

function save(): void {
  later.finish(MS_AT_END);
  for (const noteRuns of running) noteRuns();
  running.clear();
  for (const collector of collectors.values()) {
    try {
      collector.save();
    } catch (error) {
      // A folder that cannot be written to: later runs compile what this one did.
      if (!isSystemError(error)) throw error;
    }
  }
}

parentPort?.on('message', (message: CustomerOf | 'save') => {
  if (message !== 'save') {
    serve(message);
    return;
  }
  save();
  parentPort?.postMessage('saved');
});
