import { readdirSync, readFileSync } from 'node:fs';

/** CPU seconds that each thread of a process has used since it began, by thread id. */
export type CpuTimes = ReadonlyMap<number, number>;

/**
 * CPU seconds between two readings: of the thread that has used most since the process began, which is the one that runs the guest,
 * and of all threads. In a short time a compiler's thread may use more.
 */
export type CpuUse = { readonly busiest: number; readonly all: number };

/** The same with the seconds that passed. */
export type TimedUse = CpuUse & { readonly wall: number };

/** The first number of a `schedstat` file is the time on a processor, in ns (Documentation/scheduler/sched-stats.rst). */
export const parseSchedstat = (text: string): number => Number(text.trim().split(/\s+/)[0]) / 1e9;

/**
 * Reads the threads of a process. A running thread's time is as of the host's last timer tick, at most 4 ms old with HZ=250. A thread
 * that ended is gone from the readings, which is why those of a process that ended cannot be taken.
 * @throws the system's error when there is no such process
 */
export function readCpuTimes(pid: number): CpuTimes {
  const folder = `/proc/${pid}/task`;
  const times = new Map<number, number>();
  for (const tid of readdirSync(folder)) {
    try {
      times.set(Number(tid), parseSchedstat(readFileSync(`${folder}/${tid}/schedstat`, 'utf8')));
    } catch {
      // The thread ended after the folder was listed.
    }
  }
  return times;
}

export function cpuBetween(from: CpuTimes, to: CpuTimes): CpuUse {
  let busiest = 0;
  let most = 0;
  let all = 0;
  for (const [tid, seconds] of to) {
    const used = seconds - (from.get(tid) ?? 0);
    if (seconds > most) {
      most = seconds;
      busiest = used;
    }
    all += used;
  }
  return { busiest, all };
}

/** Whether this host keeps the times of threads. */
export function hasCpuTimes(): boolean {
  try {
    return readCpuTimes(process.pid).size > 0;
  } catch {
    return false;
  }
}
