/** A vCPU's thread: `workerData` says of which machine. */
import { parentPort, workerData } from 'node:worker_threads';
import { serveMachineVcpu } from '@tsvisor/machines/vcpu';
import { compileElsewhere } from './compile-port.ts';
import type { VcpuWorkerData } from './vcpu-threads.ts';

if (parentPort === null) throw new Error('this is the code of a thread');
const port = parentPort;
const { data, codeFolder } = workerData as VcpuWorkerData;
serveMachineVcpu(
  data,
  {
    post: (message) => port.postMessage({ message }),
    onMessage: (fn) => void port.on('message', fn),
  },
  // The embedding thread knows the one that compiles.
  { compiler: (service) => compileElsewhere(service, (customer) => port.postMessage({ customer }, [customer.port]), codeFolder) },
);
