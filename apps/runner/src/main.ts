#!/usr/bin/env node
import { mkdirSync, writeSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { parseCommandLine } from './cli.ts';
import { cacheFolder } from './debian/cache.ts';
import { codeOf, fileError, oneLine } from './errors.ts';
import type { CodeCache, RunOptions } from './options.ts';
import type { SessionIo } from './session.ts';

const STATUS_USAGE = 2;
const STATUS_INTERNAL = 70;
const STATUS_OUTPUT_GONE = 141;
const SHOWN_AFTER_MS = 700;

const stderr = (text: string): void => {
  process.stderr.write(text);
};

/** All bytes, now: the process may end right after. A reader that went away ends the run as SIGPIPE would. */
function stdout(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if (codeOf(error) === 'EPIPE') process.exit(STATUS_OUTPUT_GONE);
      // A pipe in non-blocking mode that is full: its reader needs a moment.
      if (codeOf(error) !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** One line that is rewritten on a terminal, and one line per step elsewhere. */
function progress(text: string): void {
  const line = text === '' ? '' : `tsvisor: ${text} …`;
  if (process.stderr.isTTY) stderr(`\r\x1b[K${line}`);
  else if (line !== '') stderr(`${line}\n`);
}

/** Says on a terminal what is waited for, if that takes long enough to wonder. */
async function showing(text: string, done: Promise<void>): Promise<void> {
  let isShown = false;
  const timer = setTimeout(() => {
    isShown = process.stderr.isTTY;
    if (isShown) progress(text);
  }, SHOWN_AFTER_MS);
  await done;
  clearTimeout(timer);
  if (isShown) progress('');
}

/** Has V8 keep what it compiles of this program, on all its threads, where the user has not said so already. */
function keepOwnCode(): void {
  process.env.NODE_COMPILE_CACHE ??= join(cacheFolder(), 'node');
  enableCompileCache(process.env.NODE_COMPILE_CACHE);
}

/** The folder for compiled code, if it is there or can be made. */
function usableFolder(cache: CodeCache | undefined): string | undefined {
  if (cache === undefined) return undefined;
  try {
    mkdirSync(cache.folder, { recursive: true, mode: 0o700 });
    return cache.folder;
  } catch (error) {
    if (cache.given) throw fileError(`cannot keep code in ${cache.folder}`, error);
    return undefined;
  }
}

async function run(options: RunOptions): Promise<number> {
  keepOwnCode();
  const codeFolder = usableFolder(options.codeCache);
  const started = performance.now();
  const [{ prepare }, { Session }, { loadMachineFactory }] = await Promise.all([
    import('./prepare.ts'),
    import('./session.ts'),
    import('./machine.ts'),
  ]);
  const terminal = { rows: process.stdout.rows || 24, columns: process.stdout.columns || 80, term: process.env.TERM || 'linux' };
  // The machine's code loads while files are read.
  const [prepared, factory] = await Promise.all([prepare({ options, terminal, progress }), loadMachineFactory(codeFolder)]);
  const preparedAt = performance.now();
  const io: SessionIo = { stdin: process.stdin, stdout, stderr, process };
  const session = new Session({ options, prepared, factory, io });
  const status = await session.run();
  await showing('keeping compiled code', factory.keepCode());
  if (options.stats) {
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    const { formatStats } = await import('./stats.ts');
    const times = { startMs: started, prepareMs: preparedAt - started, wallMs: performance.now() };
    const cpuMs = (userCPUTime + systemCPUTime) / 1000;
    stderr(formatStats({ ...times, cpuMs, rssBytes: process.memoryUsage().rss }, session.machineStats));
  }
  return status;
}

/** Codes of this project's packages ("BOOT_TRUNCATED"); neither Node's own ("ERR_…") nor the system's ("ENOENT"). */
const isOurCode = (code: string | undefined): boolean => code !== undefined && /^(?!ERR_)[A-Z0-9]+_[A-Z0-9_]+$/.test(code);

/** What is wrong with the input has a code and is one line; everything else is a defect, whose trace is there for those who ask. */
function report(error: unknown): number {
  const expected = isOurCode(codeOf(error));
  const message = oneLine(error instanceof Error ? error.message : String(error));
  if (process.env.TSVISOR_DEBUG && error instanceof Error) stderr(`${error.stack}\n`);
  stderr(expected ? `tsvisor: ${message}\n` : `tsvisor: internal error: ${message} (TSVISOR_DEBUG=1 shows where)\n`);
  return expected ? STATUS_USAGE : STATUS_INTERNAL;
}

process.on('uncaughtException', (error) => process.exit(report(error)));
process.on('unhandledRejection', (error) => process.exit(report(error)));

try {
  const request = parseCommandLine(process.argv.slice(2));
  if (request.kind === 'run') process.exit(await run(request.options));
  if (request.kind === 'doorbell') {
    const { doorbell } = await import('./doorbell/doorbell.ts');
    stdout(new TextEncoder().encode(await doorbell(request.options, progress)));
    process.exit(0);
  }
  stdout(new TextEncoder().encode(request.text));
  process.exit(0);
} catch (error) {
  process.exit(report(error));
}
