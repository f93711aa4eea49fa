/** The engine over a few megabytes of guest memory, with an interrupt controller and ports that the test itself plays. */
import { createMmu, GuestMemory, type GuestMemoryAddresses, MMU, resetMmuState, TLB_BYTES } from '@tsvisor/mmu-ept-npt';
import {
  cpuModel,
  createProcessor,
  type Processor,
  type ProcessorConfig,
  type RegionReport,
  type RunExit,
} from '../../src/index.ts';

const RAM = 16 << 20;
const LINEAR = 64 << 20;
const LINEAR_START = 0x1_0000;

/** Exceptions with an error code (SDM vol. 3 table 6-1). */
export const PUSHES_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);

/** Bytes written as hexadecimal text; spaces are free, `#` comments out the rest of a line. */
export function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replace(/#.*$/gm, '').replace(/\s/g, ''), 'hex'));
}

export type EngineOptions = {
  readonly cpu?: string;
  readonly codeBytes?: number;
  /** Compile what has run this often; without it everything is interpreted. */
  readonly heat?: number;
  readonly onRegion?: (region: RegionReport) => void;
  readonly compiler?: ProcessorConfig['compiler'];
  readonly reproducible?: boolean;
  readonly regionBytes?: number;
  readonly exclusive?: ProcessorConfig['exclusive'];
  readonly shared?: SharedMemory;
};

/** Where one of several machines has its place in a memory; all but the first one find the guest's memory there. */
export type SharedMemory = {
  readonly memory: WebAssembly.Memory;
  readonly start: number;
  readonly end: number;
  readonly attach?: GuestMemoryAddresses;
};

/** The ways a program can be run: it must not see which. */
export const TIERS: readonly [string, EngineOptions][] = [
  ['interpreted', {}],
  ['compiled at once', { heat: 1 }],
  ['compiled on the way', { heat: 3 }],
];

export class EngineMachine {
  readonly processor: Processor;
  readonly guest: GuestMemory;
  /** Vectors the interrupt controller has, first first. */
  readonly interrupts: number[] = [];
  nmi = false;
  smi = false;
  /** Told of each host page that comes under protection, for its code. */
  onProtect: ((page: number) => void) | undefined;
  /** What the chipset was told of system-management mode. */
  readonly smm: boolean[] = [];
  /** Writes where there is no memory. */
  readonly stores: { readonly gpa: number; readonly length: number; readonly value: number }[] = [];
  /** Hypercalls that are answered, by their numbers. */
  readonly hypercalls = new Map<number, (lo: number, hi: number) => boolean>();
  readonly outs: { readonly port: number; readonly length: number; readonly value: number }[] = [];

  constructor(options: EngineOptions = {}) {
    const { memory, start, end, attach } = options.shared ?? {
      memory: new WebAssembly.Memory({ initial: LINEAR >> 16, maximum: 65536, shared: true }),
      start: LINEAR_START,
      end: LINEAR,
    };
    let next = start;
    const alloc = (bytes: number, align: number): number => {
      const at = Math.ceil(next / align) * align;
      next = at + bytes;
      if (next > end) throw new RangeError('linear memory is used up');
      return at;
    };
    this.guest = new GuestMemory({
      memory,
      alloc,
      ...(attach && { attach }),
      onCodeWrite: (host, length) => this.processor.codeWritten(host, length),
    });
    if (!attach) this.guest.createSlot({ gpa: 0, bytes: RAM });
    const stateAddress = alloc(MMU.size, MMU.align);
    const tlbAddress = alloc(TLB_BYTES, 16);
    const mmu = createMmu({ memory, stateAddress, tlbAddress, guest: this.guest });
    const model = cpuModel(options.cpu ?? 'max');
    resetMmuState(mmu.state, model.physicalBits);
    this.processor = createProcessor({
      memory,
      alloc,
      mmu: {
        ...mmu,
        stateAddress,
        tlbAddress,
        offsets: MMU.offset,
        protectCode: (page) => {
          mmu.protectCode(page);
          this.onProtect?.(page);
        },
      },
      model,
      pio: { read: () => 0xff, write: (port, length, value) => void this.outs.push({ port, length, value }) },
      mmio: {
        read: () => 0xffff_ffff,
        write: (gpa, length, value) => void this.stores.push({ gpa, length, value }),
        write64: (gpa, lo) => void this.stores.push({ gpa, length: 8, value: lo }),
      },
      hypercalls: { ring: (number, lo, hi) => this.hypercalls.get(number)?.(lo, hi) ?? false },
      interrupts: {
        pending: () => this.interrupts.length > 0,
        acknowledge: () => this.interrupts.shift() ?? -1,
        takeNmi: () => {
          const { nmi } = this;
          this.nmi = false;
          return nmi;
        },
        takeSmi: () => {
          const { smi } = this;
          this.smi = false;
          return smi;
        },
        readTpr: () => 0,
        writeTpr: () => undefined,
      },
      msrs: { read: () => false, write: () => false },
      tsc: { read: (out) => void out.fill(0), write: () => undefined },
      cpuid: { query: (_leaf, _subleaf, out) => void out.fill(0) },
      onSmm: (active) => void this.smm.push(active),
      codeBytes: options.codeBytes ?? 1 << 20,
      ...(options.onRegion ? { onRegion: options.onRegion } : {}),
      ...(options.compiler ? { compiler: options.compiler } : {}),
      ...(options.reproducible === undefined ? {} : { reproducible: options.reproducible }),
      ...(options.regionBytes === undefined ? {} : { regionBytes: options.regionBytes }),
      ...(options.exclusive ? { exclusive: options.exclusive } : {}),
      ...(options.heat === undefined ? { tier: 'interp' as const } : { tier: 'jit' as const, heat: options.heat }),
    });
  }

  get state() {
    return this.processor.context.state;
  }

  /** Puts a program at `at` and lets RIP point there. */
  load(program: string, at: number): void {
    this.write(at, hex(program));
    this.state.rip = BigInt(at);
  }

  run(budget = 1_000_000): RunExit['reason'] {
    return this.processor.run(budget).reason;
  }

  gpr(n: number): bigint {
    return this.state.gpr[n];
  }

  write(gpa: number, bytes: Iterable<number>): void {
    this.guest.write(gpa, Uint8Array.from(bytes));
  }
  setU32(gpa: number, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value >>> 0, true);
    this.guest.write(gpa, bytes);
  }
  setU64(gpa: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
    this.guest.write(gpa, bytes);
  }
  u32(gpa: number): number {
    const bytes = new Uint8Array(4);
    this.guest.read(gpa, bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  }
  u64(gpa: number): bigint {
    const bytes = new Uint8Array(8);
    this.guest.read(gpa, bytes);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }
}
