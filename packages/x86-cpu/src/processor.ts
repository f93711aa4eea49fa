/** The processor: one vCPU's engine over shared memory, driven by `run`. */
import { CodeFetch } from './code-fetch.ts';
import type { CoreImage } from './core/build.ts';
import { buildForms } from './core/build.ts';
import { type CoreCode, coreFor } from './core/core-code.ts';
import { FIRST_REGION } from './core/interpreter.ts';
import { NON_CANONICAL, Vector } from './core/memory.ts';
import { DeviceMemory } from './device-memory.ts';
import { TLB_ENTRIES } from './emit/emitter.ts';
import { Status } from './emit/interpreter.ts';
import type { Form } from './form.ts';
import type { CompiledRegion } from './jit/compile.ts';
import { Pace } from './jit/pace.ts';
import type { Region } from './jit/region.ts';
import type { RegionReport } from './jit/report.ts';
import { reportRegion } from './jit/report.ts';
import type { CompileService, RegionCompiler } from './jit/service.ts';
import { compileHere, formsOf, rowFeatures } from './jit/service.ts';
import { RegionTier } from './jit/tier.ts';
import type {
  CodeSharing,
  CpuidSource,
  Doorbells,
  EntropySource,
  ExclusiveAccess,
  ExclusiveWords,
  HypercallBus,
  InterruptController,
  MmioBus,
  Mmu,
  MsrDevice,
  PortBus,
  TimeStampCounter,
} from './ports.ts';
import { Translator } from './records/translator.ts';
import { initState, resetState } from './reset.ts';
import { SYSTEM_INSTRUCTIONS } from './semantics/system.ts';
import { BLOCK_TABLE, CPU, Exit, ExitRequest, JUMP_CACHE, REGION_TABLE, Record, Rflags, Shadow } from './state.ts';
import { GuestFault, SystemContext } from './system/context.ts';
import { deliver, deliverException, TripleFault, UnsupportedFeature } from './system/events.ts';
import { InstructionAtRip } from './system/instruction-at-rip.ts';
import type { SystemPorts } from './system/instructions.ts';
import { systemInstructions } from './system/instructions.ts';
import type { CpuModel } from './system/model.ts';
import { cr4Bits, eferBits, hasFeature, signatureOf, xcr0Bits } from './system/model.ts';
import { RecordOperands } from './system/operands.ts';
import { enterSmm, inSmm } from './system/smm.ts';

export type ProcessorConfig = {
  readonly memory: WebAssembly.Memory;
  /** Zeroed linear memory for the processor's state and caches. */
  readonly alloc: (bytes: number, align: number) => number;
  readonly mmu: Mmu;
  readonly model: CpuModel;
  readonly pio: PortBus;
  readonly mmio: MmioBus;
  /** Doorbells that are rung without asking the buses. */
  readonly doorbells?: Doorbells;
  readonly hypercalls?: HypercallBus;
  readonly interrupts: InterruptController;
  readonly msrs: MsrDevice;
  readonly tsc: TimeStampCounter;
  readonly cpuid: CpuidSource;
  /** Told when system-management mode is entered and left: which memory is there then is the chipset's to say. */
  readonly onSmm?: (active: boolean) => void;
  /** What RDRAND and RDSEED answer; without it the host's random numbers. */
  readonly entropy?: EntropySource;
  /** Where other processors translate from the same memory. */
  readonly codeSharing?: CodeSharing;
  /** Where other processors run at the same time: locked operations are then atomic. */
  readonly exclusive?: ExclusiveAccess;
  /** PAUSE instructions in one call of `run` before it returns `pause`; without it they do not matter. */
  readonly pauseWindow?: number;
  /** The core module, if it is there already and for these layouts; else it is built, which takes some hundred milliseconds. */
  readonly core?: CoreCode;
  /** Bytes of interpreter records kept; when full, all translations are dropped. */
  readonly codeBytes?: number;
  /** There is no idle processor of the host for a `compiler` on another thread. */
  readonly hostFull?: boolean;
  readonly tier?: Tier;
  /** Executions of a block before the region around it is compiled, where the tier's own number will not do. */
  readonly heat?: number;
  /** What is compiled when depends on the instructions that have run alone, not on how long that took; not with a `compiler` on another thread. */
  readonly reproducible?: boolean;
  /** Bytes of WebAssembly kept for the regions that are compiled; beyond, the oldest are dropped. Those of earlier runs do not count: they share modules. */
  readonly regionBytes?: number;
  /** Compiles regions elsewhere than on this thread (see `compileHere` for what it does); without it they are compiled here. */
  readonly compiler?: (service: CompileService) => RegionCompiler;
  /** Compiled code is checked while it is built: for tests. */
  readonly checked?: boolean;
  /**
   * Called after a region has been compiled, before it runs: for people and tools, such as `printRegion`. Regions are then compiled here and
   * now, whatever `compiler` says.
   */
  readonly onRegion?: (region: RegionReport) => void;
};

/** `auto` (the default): interpret, and compile what is hot; `jit`: compile soon; `interp`: compile nothing. */
export type Tier = 'auto' | 'jit' | 'interp';

/** Executions of a block before it is hot. With `auto` compiled code has then about paid for its making. */
const HEAT: Readonly<Record<Tier, number>> = { auto: 16_000, jit: 50, interp: 0 };
/**
 * Runs in a millisecond that keep a block hot, with `auto`; by the host's time (docs/adr/0007). Compiling what is slower pays where a processor
 * has nothing else to do.
 */
const PACE = { beside: 10, instead: 40 } as const;

/** Why `run` returned. */
export type RunExit =
  | { readonly reason: 'budget' | 'halt' | 'pause' | 'shutdown' }
  /** The guest did something this engine refuses rather than does wrongly; it cannot go on. */
  | { readonly reason: 'error'; readonly message: string };

/** What `stepOne` ended with: a fault is reported, not delivered. */
export type StepResult = { readonly fault?: { readonly vector: number; readonly error: number; readonly cr2: bigint } };

/** Block headers a call of generated code may run: V8 swaps in optimised code only between calls. */
const SLICE = 200_000;
const PAGE = 4096;
/** Stores to one page that hit code, one after the other, before all of the page's code is forgotten. */
const FILLING = 3;
/** More PAUSE than `run` could execute. */
const UNLIMITED = 0x7fff_ffff;
/** A block that does not fit the budget does not start, so a call must have at least this much to get on. */
const MAX_BLOCK = 64;
/** An entry of a TLB array; the tag of an empty entry number 0 is a page that is never looked up there, of all others 0 (ports.ts, `Mmu`). */
const TLB_ENTRY_BYTES = 16;
const TLB_EMPTY_TAG_0 = 0x1000n;
/** DR6.BS: a single step. */
const DR6_BS = 0x4000n;
const DEFAULT_CODE_BYTES = 32 << 20;
const REGION_BYTES = 8 << 20;

export class Processor {
  readonly context: SystemContext;
  readonly #config: ProcessorConfig;
  readonly #ports: SystemPorts;
  readonly #translator: Translator;
  readonly #tier: RegionTier;
  readonly #compiler: RegionCompiler;
  readonly #operands: RecordOperands;
  readonly #devices: DeviceMemory;
  readonly #code: CodeFetch;
  readonly #instruction: InstructionAtRip;
  readonly #exports: Record<string, (...args: never[]) => unknown>;
  readonly #table: WebAssembly.Table;
  readonly #image: Omit<CoreImage, 'bytes'>;
  readonly #globals: WebAssembly.ModuleImports;
  readonly #handlers: Map<string, number>;
  readonly #u16: Uint16Array;
  readonly #i32: Int32Array;
  readonly #u32: Uint32Array;
  readonly #address: number;
  readonly #readTsc: () => void;
  readonly #systems = SYSTEM_INSTRUCTIONS.map((name) => systemInstructions[name]);
  #nextHandler: number;
  #refused: string | undefined;
  /** Someone wants the run loop's caller to look around. */
  #asked = false;
  readonly #exits: Record<number, number> = { [Exit.Budget]: 0, [Exit.Fault]: 0, [Exit.Resync]: 0, [Exit.Refused]: 0 };
  readonly #counts = { exits: 0, halts: 0, faults: 0, interrupts: 0, system: 0, forms: 0, codeWrites: 0 };

  constructor(config: ProcessorConfig) {
    this.#config = config;
    const { memory, alloc, mmu, model } = config;
    this.#u16 = new Uint16Array(memory.buffer);
    this.#i32 = new Int32Array(memory.buffer);
    this.#u32 = new Uint32Array(memory.buffer);
    const address = alloc(CPU.size, 64);
    this.#address = address;
    const codeMap = alloc((memory.buffer.byteLength / 4096) * 8, 64);
    this.addresses = {
      exitRequest: address + CPU.offset.exitRequest,
      kicked: address + CPU.offset.kicked,
      codeMap,
    };
    const jumpCache = alloc(JUMP_CACHE.bytes, 64);
    const blockTable = alloc(BLOCK_TABLE.entries * BLOCK_TABLE.entryBytes, 64);
    const regionTable = alloc(REGION_TABLE.entries * REGION_TABLE.entryBytes, 64);
    const codeBytes = config.codeBytes ?? DEFAULT_CODE_BYTES;
    const records = alloc(codeBytes, 64);

    const { doorbells } = config;
    const { module, ...image } = coreFor({ mmu: mmu.offsets, doorbells: doorbells?.layout }, config.core);
    this.#image = { ...image, atomic: config.exclusive !== undefined };
    this.#handlers = new Map(image.handlers);
    if (this.#image.atomic) for (const key of image.alone) this.#handlers.delete(key);
    this.#nextHandler = image.nextHandler;
    const global = (value: number) => new WebAssembly.Global({ value: 'i32' }, value | 0);
    this.#globals = { memory, cpu: global(address), jumpCache: global(jumpCache) };
    const counter = new Uint32Array(memory.buffer, address + CPU.offset.helper, 2);
    this.#readTsc = () => config.tsc.read(counter);
    const devices = new DeviceMemory(memory, address, mmu, config.mmio);
    this.#devices = devices;
    const instance = new WebAssembly.Instance(module, {
      mmu: { fill: mmu.exports.fill, flushNonGlobal: mmu.exports.flushNonGlobal, flushPage: mmu.exports.flushPage },
      env: {
        ...this.#globals,
        mmu: global(mmu.stateAddress),
        blockTable: global(blockTable),
        codeMap: global(config.codeSharing?.mapAddress ?? codeMap),
        doorbells: global(doorbells?.address ?? 0),
        doorbellReader: global(doorbells?.reader ?? 0),
        mmioRead: (size: number) => devices.read(size),
        mmioWrite: (size: number) => devices.write(size),
        watch: (va: bigint, size: number, write: number) =>
          this.context.breakpoints.note(BigInt.asUintN(64, va), size, write ? 'write' : 'read'),
        codeWrite: (host: number, size: number) => this.#codeStored(host >>> 0, size),
        system: (id: number, record: number) => this.#system(id, record),
        readTsc: this.#readTsc,
        exclusiveEnter: () => config.exclusive?.enter(),
        exclusiveLeave: () => config.exclusive?.leave(),
        exclusiveWait: () => config.exclusive?.words?.wait(),
        enterGuest: () => config.exclusive?.words?.enterGuest(),
        hot: (header: number) => this.#tier.compile(header),
        verifyCrossing: (record: number) => this.#code.verifyCrossing(record),
        translate: (host: number) => this.#code.translate(host >>> 0),
        link: (record: number) => this.#code.link(record),
      },
    });
    this.#exports = instance.exports as Record<string, (...args: never[]) => unknown>;
    this.#table = instance.exports.table as WebAssembly.Table;

    this.context = new SystemContext(memory, address, jumpCache, mmu, this.#exports.translateAddress as never);
    this.context.onIrregularStore(
      (va, value, size) => void (this.#exports.storeSlow as (v: bigint, x: bigint, s: number) => number)(va, value, size),
    );
    if (config.exclusive?.words) this.#findOthers(config.exclusive.words);
    const emptyTlb = alloc(TLB_ENTRIES * TLB_ENTRY_BYTES, 64);
    new BigUint64Array(memory.buffer, emptyTlb, 1)[0] = TLB_EMPTY_TAG_0;
    this.context.emptyTlb = emptyTlb;
    this.context.cr4Bits = cr4Bits(model);
    this.context.xcr0Bits = xcr0Bits(model);
    this.context.signature = signatureOf(model);
    this.context.intel = model.vendor === 'GenuineIntel';
    this.context.xinuse = model.features.has('xgetbv1');
    this.context.xsaves = model.features.has('xsaves');
    this.context.eferBits = eferBits(model);
    this.context.physicalBits = model.physicalBits;
    const tier = config.tier ?? 'auto';
    const heat = tier === 'interp' ? 0 : (config.heat ?? HEAT[tier]);
    this.#ports = { entropy: { fill: (out) => void crypto.getRandomValues(out) }, ...config };
    const { routines } = image;
    const features = rowFeatures.filter((feature) => hasFeature(model, feature));
    const forms = formsOf(features);
    const { atomic } = this.#image;
    const service = { memory, blockTable, features, routines, atomic, heat, checked: config.checked ?? false };
    // A report has to do with the moment, so it is made on this thread, with the region.
    const onRegion = config.onRegion && this.#reporter(config.onRegion);
    this.#compiler = (onRegion ? undefined : config.compiler?.(service)) ?? compileHere(service, onRegion && { onRegion });
    const pace = config.compiler === undefined || config.hostFull ? PACE.instead : PACE.beside;
    this.#tier = new RegionTier({
      memory,
      table: this.#table,
      env: { ...this.#globals, regionTable: global(regionTable - FIRST_REGION * REGION_TABLE.entryBytes) },
      regionTable,
      core: () => this.#coreImports(),
      translator: () => this.#translator,
      place: () => this.#code.place(),
      pace: new Pace(tier === 'auto' && config.heat === undefined && !config.reproducible ? pace : 0),
      limit: config.regionBytes ?? REGION_BYTES,
      heat,
      // Which code is kept is another question each time.
      kept: heat === 0 || config.reproducible ? undefined : this.#compiler.kept,
      compile: this.#compiler.compile,
      compileAhead: this.#compiler.compileAhead,
    });
    this.#compiler.onOffer?.((blocks) => this.#tier.offer(blocks));
    this.#operands = new RecordOperands(this.context, memory);
    this.#instruction = new InstructionAtRip(this.context);
    this.#translator = new Translator(
      {
        memory,
        cpu: address,
        records,
        recordsEnd: records + codeBytes,
        blockTable,
        codeMap,
        sharedMap: config.codeSharing?.mapAddress,
      },
      {
        bind: (form) => this.#bind(form),
        forms,
        pairs: image.pairs,
        heat,
        translated: (header, host, key) => this.#tier.translated(header, host, key),
        fetch: (lo, hi) => this.#code.fetch(lo, hi),
        protectCode: (page) => void mmu.protectCode(page),
        unprotectCode: (page) => mmu.unprotectCode(page),
      },
    );
    this.#code = new CodeFetch(memory, this.context, mmu, this.#translator);
    this.reset();
  }

  /** Linear-memory addresses of what others, on other threads too, may look at or store to. */
  readonly addresses: {
    /** i32: -1 has `run` look for interrupts at the next block boundary; for -2 see `ExclusiveAccess.serve`. */
    readonly exitRequest: number;
    /** i32: 1, stored before -1 there, has it return. */
    readonly kicked: number;
    /** As `CodeSharing.mapAddress`, of this processor's translations alone. Only it stores here. */
    readonly codeMap: number;
  };

  /** Gives up what runs beside the processor, which must not run any more. */
  dispose(): void {
    this.#compiler.dispose();
  }

  /** RESET: power-on state (SDM vol. 3 table 10-1). */
  reset(): void {
    resetState(this.context);
    this.#refused = undefined;
    this.#tier.dropAll();
    this.#translator.flush();
  }

  /** INIT, which must wait while `initBlocked`. */
  init(): void {
    initState(this.context);
    this.#refused = undefined;
  }

  /** In SMM, an INIT waits for RSM (SDM vol. 3 §32.3). */
  get initBlocked(): boolean {
    return this.context.state.smm !== 0;
  }

  /** An event became pending, or something else wants the run loop: generated code returns at the next block boundary. */
  requestExit(): void {
    this.#asked = true;
    this.context.state.exitRequest = ExitRequest.LOOK;
  }

  /** Instructions retired. Exact between calls of `run`. */
  get instructions(): number {
    return this.context.state.instructions;
  }

  /** Someone other than this processor changed bytes that may hold translated code. */
  codeWritten(host: number, length: number): void {
    this.#counts.codeWrites++;
    // The jump cache may still lead to a retired block; it leaves by Exit.Resync, which sees to that.
    this.#translator.invalidate(host, length);
  }

  #lastStored = 0;
  #storedInRow = 0;

  /** Generated code stored where translated code may be. After some such stores to one page, it is being filled with something else. */
  #codeStored(host: number, size: number): void {
    const page = host - (host % PAGE);
    this.#storedInRow = page === this.#lastStored ? this.#storedInRow + 1 : 0;
    this.#lastStored = page;
    const filling = this.#storedInRow >= FILLING;
    const from = filling ? page : host;
    const length = filling ? Math.max(PAGE, host + size - page) : size;
    if (this.#config.codeSharing) this.#config.codeSharing.written(from, length);
    else this.codeWritten(from, length);
  }

  stats(): Record<string, number> {
    return {
      instructions: this.instructions,
      blocks: this.#translator.blocks,
      translated: this.#translator.instructions,
      flushes: this.#translator.flushes,
      tlbMisses: this.#u32[(this.#config.mmu.stateAddress + this.#config.mmu.offsets.misses) >> 2],
      regions: this.#tier.counts.compiled,
      regionsDropped: this.#tier.counts.dropped,
      regionsEvicted: this.#tier.counts.evicted,
      regionsLate: this.#tier.counts.late,
      regionsShared: this.#tier.counts.shared,
      regionsKept: this.#tier.counts.kept,
      regionsLive: this.#tier.live.regions,
      regionBytes: this.#tier.counts.bytes,
      regionInstructions: this.#tier.counts.instructions,
      regionBytesLive: this.#tier.live.bytes,
      compileMs: Math.round(this.#tier.counts.milliseconds),
      compiled: Number(this.context.state.compiled),
      doorbells: this.#doorbellsRung(),
      exclusive: this.context.state.exclusives,
      exitsBudget: this.#exits[Exit.Budget],
      exitsFault: this.#exits[Exit.Fault],
      exitsResync: this.#exits[Exit.Resync],
      exitsRefused: this.#exits[Exit.Refused],
      ...this.#counts,
      mmio: this.#devices.accesses,
    };
  }

  /** Modulo 2^31. */
  #doorbellsRung(): number {
    const { doorbells } = this.#config;
    return doorbells ? this.#u32[(doorbells.reader + doorbells.layout.sequence) >> 2] >>> 1 : 0;
  }

  /** Regions are compiled while the page of their base is the current one. */
  #reporter(onRegion: (region: RegionReport) => void): (region: Region, compiled: CompiledRegion) => void {
    const bytes = new Uint8Array(this.#config.memory.buffer);
    return (region, compiled) => {
      const rip = this.context.state.pageRip;
      const [lo, hi] = this.#code.linear(rip);
      onRegion(reportRegion(region, compiled, { bytes, rip, address: (BigInt(hi) << 32n) | BigInt(lo) }));
    };
  }

  // --- running -----------------------------------------------------------------------------------------------------------------

  /** Runs about `budget` instructions at most. */
  run(budget: number): RunExit {
    const { state } = this.context;
    let left = budget;
    this.#asked = false;
    state.pauses = this.#config.pauseWindow ?? UNLIMITED;
    try {
      for (;;) {
        const shadow = this.#takeEvents();
        this.#config.exclusive?.serve();
        if (state.kicked) {
          state.kicked = 0;
          return { reason: 'budget' };
        }
        if (state.halted) {
          this.#counts.halts++;
          return { reason: 'halt' };
        }
        if (left <= 0) return { reason: 'budget' };
        if (state.pauses < 0) return { reason: 'pause' };
        // A shadow lasts until the next instruction has run, even if that is the next call's.
        const { interruptShadow } = state;
        state.interruptShadow = 0;
        const traced = (state.rflags & Rflags.TF) !== 0;
        const { breakpoints } = this.context;
        const debugged = breakpoints.armed;
        if (debugged && this.#stopsAtBreakpoint()) {
          left--;
          continue;
        }
        const resumed = debugged && (state.rflags & Rflags.RF) !== 0;
        this.context.stepEnds = false;
        if (shadow) this.context.setStep(true);
        const retired = this.#interpret(shadow || traced || debugged ? 1 : Math.max(MAX_BLOCK, Math.min(left, SLICE)));
        if (shadow) this.context.setStep(false);
        if (retired === 0 && state.rip === state.shadowRip) state.interruptShadow = interruptShadow;
        // Deliveries count too: a handler that faults at once retires nothing, for ever.
        left -= retired + this.#delivered();
        if (this.#asked) left = 0;
        if (this.#refused !== undefined) return { reason: 'error', message: this.#refused };
        // RF is for one instruction (SDM vol. 3 §18.3.1.1).
        if (resumed && retired > 0) state.rflags &= ~Rflags.RF;
        if ((traced || debugged) && retired > 0) this.#trapAfter(traced);
      }
    } catch (e) {
      if (e instanceof TripleFault) return { reason: 'shutdown' };
      if (e instanceof UnsupportedFeature) return { reason: 'error', message: `${e.message} at ${this.#instruction.place}` };
      throw e;
    }
  }

  #findOthers(words: ExclusiveWords): void {
    const { state } = this.context;
    state.exclusiveWord = words.exclusive;
    state.exclusiveId = words.id;
    state.headWord = words.head;
    state.stateBytes = words.stateBytes;
    state.stateWords = words.states;
    state.stateWordsEnd = words.states + words.processors * words.stateBytes;
    state.stateWord = words.states + words.me * words.stateBytes;
    state.looks = words.looks;
  }

  #deliveriesSeen = 0;
  /** Faults delivered since the last call, by generated code or here. */
  #delivered(): number {
    const all = this.context.state.deliveries;
    const since = (all - this.#deliveriesSeen) >>> 0;
    this.#deliveriesSeen = all;
    this.#counts.faults += since;
    return since;
  }

  /** Runs one instruction, without looking for events; a fault is reported instead of delivered. For tests and debuggers. */
  stepOne(): StepResult {
    const { state } = this.context;
    const { cr2 } = state;
    this.context.setStep(true);
    state.exitRequest = 0;
    let fault: StepResult['fault'];
    this.#onFault = (vector, error) => {
      fault = { vector, error, cr2: state.cr2 };
    };
    try {
      // A fault at no record, behind an instruction that retired, is the fetch of the next one: it is that one's, and comes again with it.
      if (this.#interpret(1) > 0 && state.exitRecord === 0 && fault) {
        fault = undefined;
        state.cr2 = cr2;
      }
    } finally {
      this.#onFault = undefined;
      this.context.setStep(false);
    }
    if (this.#refused !== undefined) throw new UnsupportedFeature(this.#refused);
    return fault ? { fault } : {};
  }

  #onFault: ((vector: number, error: number) => void) | undefined;

  /** Handles what waits at an instruction boundary, in priority order; true if interrupts are held off for one instruction. */
  #takeEvents(): boolean {
    const { state } = this.context;
    const { interrupts } = this.#config;
    // Whoever makes something pending stores it before -1 here: it is looked for only after this store is seen by all.
    Atomics.store(this.#i32, this.addresses.exitRequest >> 2, 0);
    const shadowed = state.interruptShadow !== 0 && state.rip === state.shadowRip;
    if (!shadowed) state.interruptShadow = 0;
    const waiting = interrupts.pending();
    if (shadowed && waiting) return true;
    // Before all others (SDM vol. 3 table 6-2).
    if (!shadowed && interrupts.takeSmi && !inSmm(this.context) && interrupts.takeSmi()) {
      this.#config.onSmm?.(true);
      enterSmm(this.context);
      return false;
    }
    if (!shadowed && !state.nmiBlocked && interrupts.takeNmi()) {
      state.halted = 0;
      state.nmiBlocked = 1;
      this.#deliverInterrupt(Vector.NMI);
      return false;
    }
    if (!waiting) {
      state.interruptPending = 0;
      return false;
    }
    if (!(state.rflags & Rflags.IF)) {
      state.interruptPending = -1;
      return false;
    }
    const vector = interrupts.acknowledge();
    if (vector < 0) return false;
    state.interruptPending = interrupts.pending() ? -1 : 0;
    state.halted = 0;
    this.#counts.interrupts++;
    this.#deliverInterrupt(vector);
    return false;
  }

  #deliverInterrupt(vector: number): void {
    const c = this.context;
    if ((this.#exports.deliverInterrupt as (vector: number) => number)(vector)) return;
    try {
      deliver(c, vector, 'hardware');
    } catch (e) {
      if (!(e instanceof GuestFault)) throw e;
      deliverException(c, e.vector, e.error);
    }
  }

  /**
   * Whether the instruction that ran with TF set is trapped: INT n and SYSCALL, which clear TF, are not; POPF and IRET are, whatever they load.
   */
  #trapsAfter(): boolean {
    const { state, stepEnds } = this.context;
    return stepEnds || (state.rflags & Rflags.TF) !== 0;
  }

  /** The debug trap after an instruction: TF's, and those of data breakpoints, in one (SDM vol. 3 §18.3.1.2, §18.3.1.4). */
  #trapAfter(traced: boolean): void {
    const c = this.context;
    const { state } = c;
    // After a load of SS it waits for the next instruction.
    if (state.interruptShadow === Shadow.STACK && state.rip === state.shadowRip) return;
    const causes = c.breakpoints.take() | (traced && this.#trapsAfter() ? DR6_BS : 0n);
    if (causes === 0n) return;
    state.dr[6] |= causes;
    deliverException(c, Vector.DB, -1);
  }

  /** A breakpoint on the next instruction is a fault of it. */
  #stopsAtBreakpoint(): boolean {
    const c = this.context;
    const bits = c.breakpoints.atInstruction();
    if (bits === 0n) return false;
    c.state.dr[6] |= bits;
    deliverException(c, Vector.DB, -1);
    return true;
  }

  /** One call of generated code and what it left behind. Returns the instructions retired. */
  #interpret(budget: number): number {
    const { state } = this.context;
    state.faulted = 0;
    try {
      (this.#exports.interpret as (budget: number) => void)(budget);
    } finally {
      // An instruction that did not come to its end: it faulted, or a device threw.
      if (state.exclusive) (this.#exports.exclusiveLeave as () => void)();
    }
    this.#counts.exits++;
    this.#exits[state.exitReason]++;
    const record = state.exitRecord;
    let retired = budget - state.budget;
    // Left in the middle of a block.
    if (record !== 0) {
      this.#ripFrom(record);
      retired -= this.#translator.remaining(record);
    }
    switch (state.exitReason) {
      case Exit.Fault:
        state.faulted = 0;
        // Counted before the delivery, which may end in a shutdown.
        state.instructions += retired;
        this.#fault();
        return retired;
      case Exit.Resync:
        if (this.#code.needsFlush) {
          this.#code.needsFlush = false;
          this.#tier.dropAll();
          this.#translator.flush();
        }
        this.context.flushJumps();
        break;
      case Exit.Refused:
        this.#refused = `${this.#code.refusal ?? `no semantics for the instruction ${this.#instruction.name}`} at ${this.#instruction.place}`;
        this.#code.refusal = undefined;
        break;
      default:
    }
    state.instructions += retired;
    return retired;
  }

  #ripFrom(record: number): void {
    const c = this.context;
    const place = this.#u16[(record + Record.place) >> 1];
    c.state.rip = c.wrap(c.state.pageRip + BigInt(place & 0xfff));
  }

  #fault(): void {
    const c = this.context;
    c.breakpoints.forget();
    let vector = c.state.faultVector;
    if (vector === NON_CANONICAL) vector = this.#instruction.usesStack ? Vector.SS : Vector.GP;
    const error = c.state.faultHasError ? c.state.faultError : -1;
    if (this.#onFault) this.#onFault(vector, error);
    else {
      c.state.deliveries++;
      deliverException(c, vector, error);
    }
  }

  // --- what generated code calls -------------------------------------------------------------------------------------------------

  #system(id: number, record: number): number {
    const c = this.context;
    this.#counts.system++;
    this.#operands.at(record, this.#translator.formOf(record));
    try {
      const instruction = this.#systems[id];
      if (!instruction) throw new UnsupportedFeature(`instruction ${SYSTEM_INSTRUCTIONS[id]}`);
      return instruction(c, this.#operands, this.#ports);
    } catch (e) {
      const { state } = c;
      if (e instanceof UnsupportedFeature) {
        this.#code.refuse(e.message);
        return Status.Fault;
      }
      if (!(e instanceof GuestFault)) throw e;
      state.exitReason = Exit.Fault;
      state.faultVector = e.vector;
      state.faultHasError = e.error >= 0 ? 1 : 0;
      state.faultError = e.error;
      return Status.Fault;
    }
  }

  /** Gives a form a handler: a function of its own, in a module of its own. */
  #bind(form: Form): number {
    const known = this.#handlers.get(form.key);
    if (known !== undefined) return known;
    const bytes = buildForms(this.#image, [form]);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), {
      env: this.#globals,
      core: this.#coreImports(),
    });
    const handler = this.#nextHandler++;
    this.#table.set(handler, instance.exports[0]);
    this.#handlers.set(form.key, handler);
    this.#counts.forms++;
    return handler;
  }

  #core: WebAssembly.ModuleImports | undefined;
  #coreImports(): WebAssembly.ModuleImports {
    this.#core ??= {
      ...(this.#exports as WebAssembly.ModuleImports),
      system: (id: number, record: number) => this.#system(id, record),
      readTsc: this.#readTsc,
    };
    return this.#core;
  }
}

export function createProcessor(config: ProcessorConfig): Processor {
  return new Processor(config);
}
