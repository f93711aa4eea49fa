/** A vCPU's thread: `workerData` says of which machine. */
import { parentPort, workerData } from 'node:worker_threads';
import { serveMachineVcpu, type VcpuThreadData } from '@tsvisor/machines/vcpu';
import { compileThread } from './compile-thread.ts';

if (parentPort === null) throw new Error('this is the code of a thread');
const port = parentPort;
const compiler = compileThread();
serveMachineVcpu(
  workerData as VcpuThreadData,
  { post: (message) => port.postMessage(message), onMessage: (fn) => void port.on('message', fn) },
  compiler && { compiler },
);
