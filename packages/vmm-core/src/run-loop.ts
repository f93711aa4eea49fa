import type { MachineClock } from './clock.ts';
import type { VcpuExit } from './exits.ts';
import type { Host } from './host.ts';

/** The vCPU as the loop drives it; `Vcpu` is one. */
export type RunnableVcpu = {
  readonly run: (budget: number) => VcpuExit;
  readonly kick: () => void;
  readonly runnable: boolean;
  readonly processor: { readonly instructions: number };
};

/** The machine as the loop needs it; `Vm` is one. */
export type RunnableVm = {
  readonly clock: MachineClock;
  onWake: (() => void) | undefined;
};

export type RunLoopOptions = {
  readonly vm: RunnableVm;
  /** They take turns. */
  readonly vcpus: readonly RunnableVcpu[];
  readonly host: Host;
  /** Hands collected output on; called before the loop yields or waits. */
  readonly flush: () => void;
  /** On a thread of its own: sleeps for at most so many ns, or until something comes from another thread. */
  readonly park?: (ns: number) => void;
};

/** Why a run ended. `stopped`: somebody called `stop`. */
export type RunEnd = Exclude<VcpuExit, { reason: 'intr' | 'hlt' | 'pause' }> | { readonly reason: 'stopped' };

const MS = 1e6;
/** Devices and timers get a look this often at least. */
const SLICE_NS = 1 * MS;
/** The event loop gets its turn this often: input, signals, other work of the process. */
const YIELD_NS = 3 * MS;
/** Longest sleep; a process without any timer would end. */
const IDLE_MAX_MS = 10_000;
/** Sleeps shorter than a timer of the event loop can be are naps of at most this, so that input is seen. */
const NAP_NS = 0.5 * MS;
/** Waking from a nap takes about this long. */
const NAP_SLACK_NS = 0.06 * MS;
const MIN_BUDGET = 2_000;
const MAX_BUDGET = 20_000_000;
/** Instructions per nanosecond to begin with; measured from then on. */
const FIRST_RATE = 0.05;
/** Slices shorter than this say little about the rate. */
const MEASURABLE_NS = 0.05 * MS;

/** A vCPU and why it has no turn. */
type Turn = {
  readonly vcpu: RunnableVcpu;
  halted: boolean;
  /** It halted again without a step: what waits for it cannot be taken (RFLAGS.IF is clear). */
  stuck: boolean;
};

/** Runs a machine on this thread, in slices: its vCPUs by turns, timers, output, and from time to time everything else. */
export class RunLoop {
  readonly #vm: RunnableVm;
  readonly #turns: readonly Turn[];
  /** Whose slice it is. */
  #current = 0;
  readonly #host: Host;
  readonly #flush: () => void;
  readonly #park: ((ns: number) => void) | undefined;
  #stopped = false;
  #running = false;
  #rate = FIRST_RATE;
  /** End of the slice that runs: a timer set to fire before it ends the slice. */
  #sliceEndNs = 0;
  #inGuest = false;
  /** When the event loop is to have its next turn. */
  #yieldAt = 0;
  #wake: (() => void) | undefined;
  #counters = { slices: 0, yields: 0, halts: 0, timers: 0, guestNs: 0, idleNs: 0 };

  constructor(options: RunLoopOptions) {
    this.#vm = options.vm;
    this.#turns = options.vcpus.map((vcpu) => ({ vcpu, halted: false, stuck: false }));
    this.#host = options.host;
    this.#flush = options.flush;
    this.#park = options.park;
  }

  /**
   * Runs until the guest ends or `stop` is called. Must not be called while it runs.
   * @throws what a device throws, which is a defect of the device
   */
  async run(): Promise<RunEnd> {
    if (this.#running) throw new RangeError('the machine runs already');
    const { clock } = this.#vm;
    this.#running = true;
    this.#vm.onWake = () => {
      for (const turn of this.#turns) turn.stuck = false;
      this.#wake?.();
    };
    clock.onEarlier = () => this.#timerSet();
    try {
      return await this.#loop();
    } finally {
      this.#flush();
      this.#running = this.#stopped = false;
      this.#vm.onWake = undefined;
      clock.onEarlier = undefined;
    }
  }

  /** Makes `run` resolve with `stopped`, soon; the next one, if there is none now. */
  stop(): void {
    this.#stopped = true;
    this.#turns[this.#current].vcpu.kick();
    this.#wake?.();
  }

  /** Counts and times (ns) since the loop was made. */
  get counters(): Readonly<Record<'slices' | 'yields' | 'halts' | 'timers' | 'guestNs' | 'idleNs', number>> {
    return { ...this.#counters };
  }

  async #loop(): Promise<RunEnd> {
    const { clock } = this.#vm;
    const counters = this.#counters;
    this.#yieldAt = clock.monotonicNs() + YIELD_NS;
    while (!this.#stopped) {
      counters.timers += clock.runDue();
      const ready = this.#nextTurn();
      if (ready === 0) {
        await this.#idle();
        for (const turn of this.#turns) turn.stuck = false;
        // One of them looks, whatever it was that ended the waiting: it may be the end of the machine.
        this.#turns[0].halted = false;
        continue;
      }
      const exit = this.#runTurn(this.#turns[this.#current], SLICE_NS / ready);
      if (exit.reason !== 'intr' && exit.reason !== 'hlt' && exit.reason !== 'pause') return exit;
      if (clock.monotonicNs() < this.#yieldAt) continue;
      this.#flush();
      await this.#yield();
    }
    return { reason: 'stopped' };
  }

  /** Makes the next vCPU that has something to do the current one; returns how many there are. */
  #nextTurn(): number {
    const all = this.#turns;
    let ready = 0;
    let next = 0;
    for (let step = all.length; step > 0; step--) {
      const index = (this.#current + step) % all.length;
      const { vcpu, halted, stuck } = all[index];
      if (halted && (stuck || !vcpu.runnable)) continue;
      ready++;
      next = index;
    }
    this.#current = next;
    return ready;
  }

  #runTurn(turn: Turn, sliceNs: number): VcpuExit {
    const { vcpu } = turn;
    const before = vcpu.processor.instructions;
    const waited = vcpu.runnable;
    const exit = this.#slice(vcpu, sliceNs);
    turn.halted = exit.reason === 'hlt';
    if (!turn.halted) return exit;
    this.#counters.halts++;
    turn.stuck = waited && vcpu.processor.instructions === before;
    return exit;
  }

  /** One stay in the guest, until about the next deadline or for a slice. */
  #slice(vcpu: RunnableVcpu, sliceNs: number): VcpuExit {
    const { clock } = this.#vm;
    const start = clock.monotonicNs();
    const end = Math.min(start + sliceNs, clock.nextDeadlineNs());
    const budget = Math.min(Math.max(Math.floor((end - start) * this.#rate), MIN_BUDGET), MAX_BUDGET);
    const before = vcpu.processor.instructions;
    this.#sliceEndNs = end;
    this.#inGuest = true;
    const exit = vcpu.run(budget);
    this.#inGuest = false;
    const spent = clock.monotonicNs() - start;
    this.#counters.slices++;
    this.#counters.guestNs += spent;
    if (spent > MEASURABLE_NS) this.#rate += ((vcpu.processor.instructions - before) / spent - this.#rate) / 4;
    return exit;
  }

  /** The guest set a timer. If it is due within the slice, the slice ends now and a shorter one begins. */
  #timerSet(): void {
    if (!this.#inGuest) this.#wake?.();
    else if (this.#vm.clock.nextDeadlineNs() < this.#sliceEndNs) this.#turns[this.#current].vcpu.kick();
  }

  /** Waits for the first deadline or an event. */
  async #idle(): Promise<void> {
    const { clock } = this.#vm;
    // Output goes first: whoever gets it may answer with input, which is something to run for.
    this.#flush();
    this.#counters.timers += clock.runDue();
    if (this.#turns.some(({ vcpu, stuck }) => vcpu.runnable && !stuck)) return;
    const start = clock.monotonicNs();
    const wait = clock.nextDeadlineNs() - start;
    if (this.#park) {
      // What the event loop has, such as compiled code, nobody would see during a sleep; to look each time takes longer than many a sleep.
      if (start >= this.#yieldAt) await this.#yield();
      if (!this.#stopped) this.#park(wait);
    } else if (wait >= MS) {
      await this.#sleep(Math.min(Math.floor(wait / MS), IDLE_MAX_MS));
      this.#yieldAt = clock.monotonicNs() + YIELD_NS;
    } else {
      if (wait > 2 * NAP_SLACK_NS) this.#host.nap(Math.min(wait - NAP_SLACK_NS, NAP_NS));
      await this.#yield();
    }
    this.#counters.idleNs += clock.monotonicNs() - start;
  }

  /** Lets the event loop have its turn. */
  async #yield(): Promise<void> {
    this.#counters.yields++;
    await this.#host.yieldToEvents();
    this.#yieldAt = this.#vm.clock.monotonicNs() + YIELD_NS;
  }

  #sleep(ms: number): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        cancel();
        this.#wake = undefined;
        resolve();
      };
      const cancel = this.#host.setTimeout(wake, ms);
      this.#wake = wake;
    });
  }
}
