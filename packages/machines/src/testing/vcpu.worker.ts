/** A vCPU's thread in tests. */
import { parentPort, workerData } from 'node:worker_threads';
import { serveMachineVcpu, type VcpuThreadData } from '../vcpu.ts';

if (parentPort === null) throw new Error('this is the code of a thread');
const port = parentPort;
serveMachineVcpu(workerData as VcpuThreadData, {
  post: (message) => port.postMessage(message),
  onMessage: (fn) => void port.on('message', fn),
});
