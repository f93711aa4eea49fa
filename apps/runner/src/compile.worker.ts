/** A thread that compiles vCPUs' hot regions: each message is a vCPU, each message of that one's port a job, each answer what became of it. */
import { setFlagsFromString } from 'node:v8';
import { parentPort } from 'node:worker_threads';
import { type CompileJob, createCompiler } from '@tsvisor/machines/compiler';
import type { Answer, Customer } from './compile-port.ts';

// What is compiled here is finished here, and not when the vCPU first runs it.
setFlagsFromString('--no-wasm-lazy-compilation');

parentPort?.on('message', ({ service, port }: Customer) => {
  const compile = createCompiler(service);
  port.on('message', (job: CompileJob) => port.postMessage({ slot: job.slot, compiled: compile(job) } satisfies Answer));
});
