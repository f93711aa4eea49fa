/** A thread that compiles vCPUs' hot regions: each message is a vCPU, each message of that one's port a job, each answer what became of it. */
import { setFlagsFromString } from 'node:v8';
import { parentPort } from 'node:worker_threads';
import { createCompiler, RegionPool } from '@tsvisor/machines/compiler';
import type { Answer, CustomerOf, Question } from './compile-port.ts';

// What is compiled here is finished here, and not when the vCPU first runs it.
setFlagsFromString('--no-wasm-lazy-compilation');

/** As much as a vCPU keeps. */
const POOL_BYTES = 8 << 20;

/** What machines' vCPUs share, and how many of them are there. */
const machines = new Map<number, { readonly pool: RegionPool; vcpus: number }>();

parentPort?.on('message', ({ service, port, machine }: CustomerOf) => {
  const shared = machines.get(machine) ?? { pool: new RegionPool(POOL_BYTES), vcpus: 0 };
  machines.set(machine, shared);
  shared.vcpus++;
  const compile = createCompiler(service, { pool: shared.pool });
  port.on('message', ({ id, job }: Question) => port.postMessage({ id, compiled: compile(job) } satisfies Answer));
  port.on('close', () => {
    shared.vcpus--;
    if (shared.vcpus === 0) machines.delete(machine);
  });
});
