import { readFileSync } from 'node:fs';

/** VmHWM of /proc/PID/status: the most memory that was resident at one time (proc_pid_status(5)). In MiB; NaN if it is not told. */
export const parsePeakMemory = (status: string): number => Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;

/** The most memory that a process has had resident since it began, MiB; NaN when there is no such process. */
export function readPeakMemory(pid: number): number {
  try {
    return parsePeakMemory(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return Number.NaN;
  }
}
