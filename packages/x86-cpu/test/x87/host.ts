/** Runs x87 instructions on the processor this test runs on, through a small C program. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Offsets in a record; see x87-host.c. */
export const Rec = { size: 288, image: 0, code: 112, memory: 160, memorySize: 112, rflags: 144 } as const;

/**
 * Why the host cannot serve as oracle, or '' when it can. What the manuals leave open (condition codes after FCOMI, FFREE and a refused
 * FPREM, the unused encodings) the engine does as AMD's processors do.
 */
export function hostUnavailable(): string {
  if (process.arch !== 'x64' || process.platform !== 'linux') return 'needs x86-64 Linux';
  if (!readFileSync('/proc/cpuinfo', 'utf8').includes('AuthenticAMD')) return 'needs an AMD processor';
  return spawnSync('gcc', ['--version']).status === 0 ? '' : 'needs gcc';
}

/** Compiles the program; `run` executes all records of a buffer. */
export function openHost(): { run: (records: Uint8Array) => Uint8Array; [Symbol.dispose]: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'x87-'));
  const program = join(folder, 'x87-host');
  execFileSync('gcc', ['-O1', '-o', program, fileURLToPath(new URL('x87-host.c', import.meta.url))]);
  return {
    run: (records) => {
      const { stdout, status } = spawnSync(program, { input: records, maxBuffer: records.length + 1024 });
      if (status !== 0 || stdout.length !== records.length)
        throw new Error(`x87-host ended with ${status}, ${stdout.length} bytes`);
      return stdout;
    },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  };
}
