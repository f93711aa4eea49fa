/** A thread that compiles a vCPU's hot regions: `workerData` is the service, each message a job, each answer what became of it. */
import { setFlagsFromString } from 'node:v8';
import { parentPort, workerData } from 'node:worker_threads';
import { type CompileJob, type CompileService, createCompiler } from '@tsvisor/machines/compiler';

// What is compiled here is finished here, and not when the vCPU first runs it.
setFlagsFromString('--no-wasm-lazy-compilation');
const compile = createCompiler(workerData as CompileService);

parentPort?.on('message', (job: CompileJob) => parentPort?.postMessage({ slot: job.slot, compiled: compile(job) }));
