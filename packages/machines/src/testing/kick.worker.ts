/** A thread that kicks a vCPU of which it has the handle. */
import { workerData } from 'node:worker_threads';
import { kickVcpu, type VcpuKickHandle } from '@tsvisor/vmm-core';

kickVcpu(workerData as VcpuKickHandle);
