import { EventEmitter } from 'node:events';
import type { RunOptions } from '../options.ts';
import type { GuestExit, GuestMachine, MachineConfig, MachineFactory } from '../ports.ts';
import type { Prepared } from '../prepare.ts';
import type { SessionIo } from '../session.ts';

const encoder = new TextEncoder();

/** A machine whose guest is a script: it writes to its UARTs, reads what was sent, and ends. */
export class FakeMachine implements GuestMachine {
  readonly config: MachineConfig;
  readonly received: { port: 0 | 1; bytes: Uint8Array }[] = [];
  disposed = false;
  #resolve: (exit: GuestExit) => void = () => undefined;
  readonly #exit: Promise<GuestExit>;
  readonly #script: (machine: FakeMachine) => void;

  constructor(config: MachineConfig, script: (machine: FakeMachine) => void) {
    this.config = config;
    this.#script = script;
    this.#exit = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  readonly start = (): Promise<GuestExit> => {
    setImmediate(() => this.#script(this));
    return this.#exit;
  };
  readonly sendSerial = (port: 0 | 1, bytes: Uint8Array): void => {
    this.received.push({ port, bytes });
  };
  readonly stop = (): void => this.end({ reason: 'stopped' });
  readonly stats = (): Record<string, number> => ({ instructions: 42 });
  readonly dispose = (): void => {
    this.disposed = true;
  };

  /** The guest transmits. */
  print(port: 0 | 1, data: string | Uint8Array): void {
    this.config.serial[port]?.write(typeof data === 'string' ? encoder.encode(data) : data);
  }

  end(exit: GuestExit): void {
    this.#resolve(exit);
  }

  get input(): string {
    return this.received.map(({ bytes }) => new TextDecoder().decode(bytes)).join('');
  }
}

/** Makes machines that run the given scripts, one after the other; the last one for all that follow. */
export function fakeFactory(...scripts: ((machine: FakeMachine) => void)[]): MachineFactory & { machines: FakeMachine[] } {
  const machines: FakeMachine[] = [];
  const create = async (config: MachineConfig): Promise<FakeMachine> => {
    const machine = new FakeMachine(config, scripts[Math.min(machines.length, scripts.length - 1)]);
    machines.push(machine);
    return machine;
  };
  return { machines, create };
}

class FakeInput extends EventEmitter {
  isTTY = false;
  raw: boolean[] = [];
  readonly setRawMode = (raw: boolean): void => {
    this.raw.push(raw);
  };
  readonly pause = (): void => undefined;
  readonly resume = (): void => undefined;
}

export type FakeIo = SessionIo & {
  readonly stdin: FakeInput;
  readonly process: EventEmitter;
  readonly output: () => string;
  readonly outputBytes: () => Uint8Array;
  readonly errors: () => string;
};

export function fakeIo(): FakeIo {
  const chunks: Uint8Array[] = [];
  let errors = '';
  return {
    stdin: new FakeInput(),
    process: new EventEmitter(),
    stdout: (bytes) => chunks.push(bytes.slice()),
    stderr: (text) => {
      errors += text;
    },
    output: () => Buffer.concat(chunks).toString('utf8'),
    outputBytes: () => new Uint8Array(Buffer.concat(chunks)),
    errors: () => errors,
  };
}

export const runOptions = (over: Partial<RunOptions> = {}): RunOptions => ({
  append: '',
  memoryBytes: 256 << 20,
  cpus: 1,
  inline: true,
  deterministic: false,
  cpu: 'max',
  tier: 'interp',
  files: [],
  devices: [],
  serial: { kind: over.exec === undefined ? 'stdio' : 'null' },
  stats: false,
  ...over,
});

export const prepared = (over: Partial<Prepared> = {}): Prepared => ({
  boot: { kernel: new Uint8Array(8), cmdline: 'console=ttyS0' },
  token: '00112233445566778899aabbccddeeff',
  ourInit: true,
  ...over,
});

export const mark = (kind: string): string => `\x01tsvisor:${prepared().token}:${kind}\n`;
