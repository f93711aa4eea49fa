import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism, constants, setPriority } from 'node:os';

/** Never idle, and ends with whoever started it. Between turns of 5 ms it looks for that. */
const TURN = `
process.title = 'tsvisor-awake';
process.on('disconnect', () => process.exit());
const turn = () => { for (const end = performance.now() + 5; performance.now() < end;); setImmediate(turn); };
turn();
`;

/**
 * Keeps the host's processors from halting, with a process for each that runs when nothing else wants to: as Linux' `idle=poll` does. To wake a
 * halted processor takes a virtual machine two exits to its hypervisor. What it returns ends that.
 */
export async function keepHostAwake(): Promise<() => Promise<void>> {
  const all = Array.from({ length: availableParallelism() }, () =>
    spawn(process.execPath, ['-e', TURN], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] }),
  );
  const stop = async (): Promise<void> => {
    const ended = all.filter(({ pid }) => pid !== undefined).map((child) => once(child, 'exit'));
    for (const child of all) child.kill('SIGKILL');
    await Promise.all(ended);
  };
  try {
    await Promise.all(all.map((child) => once(child, 'spawn')));
    for (const { pid } of all) setPriority(pid as number, constants.priority.PRIORITY_LOW);
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}
