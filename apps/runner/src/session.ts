import { closeSync, openSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { BatchedWriter } from './console/batched-writer.ts';
import { CONSOLE_HELP, EscapeFilter } from './console/escape.ts';
import { ConsoleTail } from './console/tail.ts';
import { enterRawMode, type ProcessEvents, type RawInput } from './console/terminal.ts';
import { fileError, oneLine } from './errors.ts';
import { ExecChannel } from './guest/channel.ts';
import { JitDumper } from './jit-dump.ts';
import type { RunOptions } from './options.ts';
import type { GuestExit, GuestMachine, MachineConfig, MachineFactory, SerialSink } from './ports.ts';
import type { Prepared } from './prepare.ts';

/** The parts of the process that a session uses; tests bring their own. */
export type SessionIo = {
  readonly stdin: RawInput & {
    readonly on: (event: 'data' | 'end', listener: (chunk: Uint8Array) => void) => unknown;
    readonly pause: () => unknown;
    readonly resume: () => unknown;
  };
  readonly stdout: (bytes: Uint8Array) => void;
  readonly stderr: (text: string) => void;
  readonly process: ProcessEvents & { readonly on: (event: NodeJS.Signals, listener: () => void) => unknown };
};

const STATUS_TIMEOUT = 124;
const STATUS_GUEST_DIED = 125;
const END_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
const TAIL_LINES = 15;
const LF = 0x0a;
const END_OF_INPUT = Uint8Array.of(0x04);
const END_REPEAT_MS = 1000;

/** Why a run ends, when it is not the guest that decides. The first reason counts. */
type Verdict = { readonly status: number; readonly message?: string };

/** One run of the command: a guest, its console, and what ends it. */
export class Session {
  readonly #options: RunOptions;
  readonly #prepared: Prepared;
  readonly #factory: MachineFactory;
  readonly #io: SessionIo;
  readonly #tail = new ConsoleTail();
  readonly #escape = new EscapeFilter();
  readonly #flushers: (() => void)[] = [];
  #machine: GuestMachine | undefined;
  #verdict: Verdict | undefined;
  /** Input that came before the guest could take it; undefined once it can. */
  #held: Uint8Array[] | undefined;
  readonly #jitDump: JitDumper | undefined;
  #lastMachineStats: Record<string, number | string> = {};

  constructor(config: { options: RunOptions; prepared: Prepared; factory: MachineFactory; io: SessionIo }) {
    this.#options = config.options;
    this.#prepared = config.prepared;
    this.#factory = config.factory;
    this.#io = config.io;
    this.#held = config.prepared.ourInit ? [] : undefined;
    const { dumpJit } = config.options;
    if (dumpJit !== undefined) this.#jitDump = new JitDumper(dumpJit, config.io.stderr);
  }

  /** Counters of the last machine. */
  get machineStats(): Record<string, number | string> {
    return this.#lastMachineStats;
  }

  /**
   * Runs to the end.
   * @returns the status for the process to exit with
   * @throws what the factory rejects with, and RunnerError for a console file that cannot be written
   */
  async run(): Promise<number> {
    const cleanup: (() => void)[] = [];
    try {
      const sinks = this.#sinks(cleanup);
      this.#watchSignals();
      // The first machine is made before the terminal changes: what is wrong with the input is said on a sane terminal.
      this.#machine = await this.#create(sinks);
      if (this.#verdict === undefined) {
        this.#startTimer(cleanup);
        this.#attachInput(cleanup);
      }
      const exit = await this.#runMachines(sinks);
      for (const flush of this.#flushers) flush();
      this.#jitDump?.finish();
      return this.#conclude(exit, cleanup);
    } finally {
      await this.#dispose();
      for (const undo of cleanup.reverse()) undo();
    }
  }

  #create(serial: readonly [SerialSink, SerialSink]): Promise<GuestMachine> {
    const config: MachineConfig = {
      memoryBytes: this.#options.memoryBytes,
      cpus: this.#options.cpus,
      inline: this.#options.inline,
      deterministic: this.#options.deterministic,
      cpuModel: this.#options.cpu,
      tier: this.#options.tier,
      ...this.#prepared.boot,
      serial,
      testDevices: this.#options.devices.map((device) => ({ ...device, sink: serial[0] })),
      ...(this.#jitDump === undefined ? {} : { onRegion: this.#jitDump.onRegion }),
    };
    return this.#factory.create(config);
  }

  /** A guest that resets starts anew, as a PC does; one that runs a command does not, because it would run it again. */
  async #runMachines(sinks: readonly [SerialSink, SerialSink]): Promise<GuestExit> {
    for (;;) {
      const machine = this.#machine;
      if (machine === undefined || this.#verdict !== undefined) return { reason: 'stopped' };
      const exit = await machine.start();
      await this.#dispose();
      if (exit.reason !== 'reset' || this.#options.exec !== undefined || this.#verdict !== undefined) return exit;
      this.#machine = await this.#create(sinks);
    }
  }

  async #dispose(): Promise<void> {
    const machine = this.#machine;
    if (machine === undefined) return;
    this.#machine = undefined;
    this.#lastMachineStats = machine.stats();
    await machine.dispose();
  }

  #end(verdict: Verdict): void {
    this.#verdict ??= verdict;
    this.#machine?.stop();
  }

  #sinks(cleanup: (() => void)[]): [SerialSink, SerialSink] {
    const { serial, exec } = this.#options;
    const outputs: SerialSink[] = [this.#tail];
    if (serial.kind === 'stdio' && exec === undefined) outputs.push(this.#batched(this.#io.stdout));
    // With --exec, standard output is the command's alone.
    if (serial.kind === 'stdio' && exec !== undefined)
      outputs.push(this.#batched((bytes) => this.#io.stderr(Buffer.from(bytes).toString('utf8'))));
    if (serial.kind === 'file') outputs.push(this.#batched(this.#consoleFile(serial.path, cleanup)));
    const console: SerialSink = {
      write: (bytes) => {
        for (const output of outputs) output.write(bytes);
      },
    };
    const output = this.#batched(this.#io.stdout);
    const channel = new ExecChannel(this.#prepared.token, {
      onReady: () => this.#releaseInput(),
      onOutput: output.write,
      onStatus: (status) => this.#end({ status }),
    });
    return [console, channel];
  }

  #batched(out: (bytes: Uint8Array) => void): BatchedWriter {
    const writer = new BatchedWriter(out);
    this.#flushers.push(writer.flush);
    return writer;
  }

  #consoleFile(path: string, cleanup: (() => void)[]): (bytes: Uint8Array) => void {
    let fd: number;
    try {
      fd = openSync(path, 'w');
    } catch (error) {
      throw fileError(`cannot write the console file ${path}`, error);
    }
    cleanup.push(() => closeSync(fd));
    return (bytes) => {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    };
  }

  #startTimer(cleanup: (() => void)[]): void {
    const { timeoutMs } = this.#options;
    if (timeoutMs === undefined) return;
    const message = `timeout: the guest did not end within ${timeoutMs / 1000} s`;
    const timer = setTimeout(() => this.#end({ status: STATUS_TIMEOUT, message }), timeoutMs);
    cleanup.push(() => clearTimeout(timer));
  }

  #watchSignals(): void {
    for (const signal of END_SIGNALS) {
      this.#io.process.on(signal, () => {
        // A second signal means that the first did not help.
        if (this.#verdict !== undefined) process.exit(128 + constants.signals[signal]);
        this.#end({ status: 128 + constants.signals[signal] });
      });
    }
  }

  #attachInput(cleanup: (() => void)[]): void {
    const { stdin } = this.#io;
    if (this.#options.serial.kind !== 'stdio' || this.#options.exec !== undefined) return;
    cleanup.push(enterRawMode(stdin, this.#io.process));
    let lastByte = LF;
    stdin.on('data', (chunk) => {
      lastByte = chunk.at(-1) ?? lastByte;
      for (const input of this.#escape.push(chunk)) {
        if (input.kind === 'bytes') this.#send(input.bytes);
        else if (input.kind === 'help') this.#io.stderr(CONSOLE_HELP);
        else this.#end({ status: 0, message: 'left the virtual machine' });
      }
    });
    stdin.on('end', () => {
      // A script's end ends the shell, as it would on any other system. A kernel that runs its own init may not want that.
      if (!this.#prepared.ourInit) return;
      if (lastByte !== LF) this.#send(Uint8Array.of(LF));
      this.#send(END_OF_INPUT);
      // The end stays the end: a program that reads input may have taken the first one.
      const timer = setInterval(() => this.#send(END_OF_INPUT), END_REPEAT_MS);
      cleanup.push(() => clearInterval(timer));
    });
    stdin.resume();
    cleanup.push(() => stdin.pause());
  }

  #send(bytes: Uint8Array): void {
    if (this.#held !== undefined) this.#held.push(bytes);
    else this.#machine?.sendSerial(0, bytes);
  }

  #releaseInput(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const bytes of held) this.#machine?.sendSerial(0, bytes);
  }

  #conclude(exit: GuestExit, cleanup: (() => void)[]): number {
    const say = (text: string): void => {
      // Before anything is said, the terminal is a terminal again.
      for (const undo of cleanup.splice(0).reverse()) undo();
      this.#io.stderr(
        `${this.#options.exec === undefined && this.#io.stdin.isTTY === true ? '\n' : ''}tsvisor: ${oneLine(text)}\n`,
      );
    };
    if (this.#verdict !== undefined) {
      if (this.#verdict.message !== undefined) say(this.#verdict.message);
      if (this.#verdict.status === STATUS_TIMEOUT) this.#showTail();
      return this.#verdict.status;
    }
    switch (exit.reason) {
      case 'exit':
        return (exit.status ?? 0) & 0xff;
      case 'triple-fault':
        say('the guest died of a triple fault');
        break;
      case 'error':
        say(`the machine stopped: ${exit.message ?? 'no reason given'}`);
        break;
      case 'reset':
        say('the guest reset itself before the command had ended');
        break;
      default:
        if (this.#options.exec === undefined) return 0;
        // The command itself powered the machine off: that is an end as good as any.
        if (exit.reason === 'poweroff') return 0;
        say('the guest ended before the command had');
    }
    this.#showTail();
    return STATUS_GUEST_DIED;
  }

  /** The console's last words, where the user has not seen them already. */
  #showTail(): void {
    if (this.#options.serial.kind === 'stdio') return;
    for (const line of this.#tail.lines(TAIL_LINES)) this.#io.stderr(`  | ${line}\n`);
  }
}
