/** Machines that come and go in one process. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { microvm } from '../../src/index.ts';
import { makeKernel, POWER_OFF, print, START_SECOND, TRAMPOLINE_OFFSET, trampoline } from '../../src/testing/kernels.ts';
import { testThreads } from '../../src/testing/vcpu-threads.ts';

const SECOND = 0x800;
const KERNEL = makeKernel({
  0: [...START_SECOND, 0xf4, 0xeb, 0xfd], // hlt; jmp to the hlt
  [SECOND]: [...print('Hi'), ...POWER_OFF],
  [TRAMPOLINE_OFFSET]: trampoline(SECOND),
});

/** Makes a machine of two processors, runs a guest of a few instructions that both take part in, and disposes of it. */
export async function liveAndDie(withThreads: boolean): Promise<void> {
  const pool = testThreads();
  let output = '';
  const machine = await microvm.create({
    memoryBytes: 32 << 20,
    cpuModel: 'max',
    cpus: 2,
    kernel: KERNEL,
    cmdline: '',
    serial: [{ write: (bytes) => void (output += Buffer.from(bytes).toString('latin1')) }],
    ...(withThreads && { threads: pool.threads }),
  });
  const exit = await machine.start();
  await machine.dispose();
  if (exit.reason !== 'poweroff' || output !== 'Hi') throw new Error(`the guest said ${output} and ended with ${exit.reason}`);
  if (pool.alive() !== 0 || pool.workers.length !== (withThreads ? 2 : 0))
    throw new Error(`${pool.alive()} of ${pool.workers.length} threads are left`);
}

/** Collects garbage, whether or not the process was started with --expose-gc. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
const collect = collector();

/** MiB that the process has in memory, when what can be freed has been. */
export async function residentMiB(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    collect();
    // Finalizers run, and freed memory goes back, between turns of the event loop.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return process.memoryUsage.rss() / 2 ** 20;
}
