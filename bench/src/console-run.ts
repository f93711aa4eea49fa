import { type ChildProcess, spawn } from 'node:child_process';
import { type CpuTimes, readCpuTimes } from './cpu-time.ts';
import { BenchError } from './errors.ts';
import { LineSplitter } from './lines.ts';
import { readPeakMemory } from './peak-memory.ts';

/** A program whose standard output is the console to watch. */
export type Command = {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
};

/** The state of the program when a line came. */
export type Moment = {
  /** CPU of its threads. */
  readonly cpu: CpuTimes;
  /** Seconds since it was started. */
  readonly wall: number;
  /** The most memory it has had resident, MiB. */
  readonly peakMiB: number;
};

export type ConsoleRun = {
  readonly command: Command;
  /** Takes a line; `now` reads the program's clocks, which costs a moment. `end` ends the program. */
  readonly onLine: (line: string, now: () => Moment) => 'end' | undefined;
  /** Looks at what has come of a line that has not ended yet. */
  readonly onRest?: (rest: string, now: () => Moment) => 'end' | undefined;
  /** Seconds of silence on the console after which the program is ended and the run has failed. */
  readonly silence: number;
  /** What messages call it. */
  readonly name: string;
};

const TAIL_LINES = 6;
/** Milliseconds that a contender has for its end. */
const PATIENCE_MS = 5000;
const children = new Set<ChildProcess>();
// Nothing that was started here outlives this process.
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** The last lines that a program said. */
class Tail {
  readonly #lines: string[] = [];

  readonly push = (line: string): void => {
    if (line.trim() !== '') this.#lines.push(line.trim());
    if (this.#lines.length > TAIL_LINES) this.#lines.shift();
  };

  get text(): string {
    return this.#lines.length === 0 ? '' : `; its last lines:${this.#lines.map((line) => `\n  | ${line}`).join('')}`;
  }
}

/**
 * Runs a program until a line ends it or it ends by itself.
 * @throws BenchError BENCH_HOST when it cannot be started, BENCH_GUEST when it falls silent or fails
 */
export function runConsole({ command, name, onLine, onRest, silence }: ConsoleRun): Promise<void> {
  const started = performance.now();
  const child = spawn(command.file, command.args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...command.env } });
  children.add(child);
  const tail = new Tail();
  let verdict: 'end' | BenchError | undefined;
  const end = (reason: 'end' | BenchError): void => {
    verdict ??= reason;
    // A contender that is done may have something to put away.
    child.kill(verdict === 'end' ? 'SIGTERM' : 'SIGKILL');
    setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS).unref();
  };
  const failure = (what: string): BenchError => new BenchError('BENCH_GUEST', `${name} ${what}${tail.text}`);
  const now = (): Moment => ({
    wall: (performance.now() - started) / 1000,
    cpu: readCpuTimes(child.pid ?? 0),
    peakMiB: readPeakMemory(child.pid ?? 0),
  });

  const lines = new LineSplitter((line) => {
    tail.push(line);
    if (verdict === undefined && onLine(line, now) === 'end') end('end');
  });
  const timer = setTimeout(() => end(failure(`said nothing for ${silence} s`)), silence * 1000);
  child.stdout.on('data', (bytes: Uint8Array) => {
    timer.refresh();
    try {
      lines.push(bytes);
      if (verdict === undefined && onRest?.(lines.rest, now) === 'end') end('end');
    } catch (error) {
      end(new BenchError('BENCH_HOST', `cannot measure ${name}: ${String(error)}`, { cause: error }));
    }
  });
  const errors = new LineSplitter(tail.push);
  child.stderr.on('data', (bytes: Uint8Array) => errors.push(bytes));

  return new Promise<void>((resolve, reject) => {
    child.on('error', (error) => {
      verdict ??= new BenchError('BENCH_HOST', `cannot run ${name}: ${error.message}`, { cause: error });
    });
    // Comes after 'error', too: the streams close in any case.
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      children.delete(child);
      if (verdict instanceof BenchError) reject(verdict);
      else if (verdict === undefined && status !== 0) reject(failure(`ended with ${signal ?? `status ${status}`}`));
      else resolve();
    });
  });
}
