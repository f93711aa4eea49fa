/** A thread that compiles vCPUs' hot regions: each message is a vCPU, each message of that one's port a job, each answer what became of it. */
import { setFlagsFromString } from 'node:v8';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { createCompiler, RegionPool } from '@tsvisor/machines/compiler';
import type { Answer, CustomerOf, Question } from './compile-port.ts';

// What is compiled here is finished here, and not when the vCPU first runs it.
setFlagsFromString('--no-wasm-lazy-compilation');

/** As much as a vCPU keeps. */
const POOL_BYTES = 8 << 20;

/** What a machine's vCPUs share, and who they are. */
const machines = new Map<number, { readonly pool: RegionPool; readonly ports: Set<MessagePort> }>();

parentPort?.on('message', ({ service, port, machine }: CustomerOf) => {
  const { pool, ports } = machines.get(machine) ?? { pool: new RegionPool(POOL_BYTES), ports: new Set() };
  machines.set(machine, { pool, ports });
  ports.add(port);
  const compile = createCompiler(service, { pool });
  port.on('message', ({ id, job }: Question) => {
    const compiled = compile(job);
    port.postMessage({ id, compiled } satisfies Answer);
    if (!compiled || compiled.shared) return;
    const { key, entries } = compiled;
    for (const other of ports) if (other !== port) other.postMessage({ offer: { key, entries } } satisfies Answer);
  });
  port.on('close', () => {
    ports.delete(port);
    if (ports.size === 0) machines.delete(machine);
  });
});
