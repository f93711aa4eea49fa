import { writeFileSync } from 'node:fs';
import { fileError } from './errors.ts';
import type { JitDump } from './options.ts';
import type { CompiledRegion } from './ports.ts';

/** Waits for a region with a certain address, and writes it as soon as it is compiled. */
export class JitDumper {
  readonly #wanted: JitDump;
  readonly #stderr: (text: string) => void;
  #done = false;

  /** @throws RunnerError for a file that cannot be written: before the guest starts */
  constructor(wanted: JitDump, stderr: (text: string) => void) {
    this.#wanted = wanted;
    this.#stderr = stderr;
    if (wanted.file !== undefined) this.#write('');
  }

  readonly onRegion = (region: CompiledRegion): void => {
    if (this.#done || !region.holds(this.#wanted.gva)) return;
    this.#done = true;
    this.#write(region.text());
  };

  /** The guest has ended. */
  finish(): void {
    if (!this.#done) this.#stderr(`tsvisor: no code at 0x${this.#wanted.gva.toString(16)} was compiled\n`);
  }

  #write(text: string): void {
    const { file } = this.#wanted;
    if (file === undefined) {
      this.#stderr(text);
      return;
    }
    try {
      writeFileSync(file, text);
    } catch (error) {
      throw fileError(`cannot write the region's file ${file}`, error);
    }
  }
}
