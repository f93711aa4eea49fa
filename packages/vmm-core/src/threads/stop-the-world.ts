import type { ExclusiveWords } from '../ports.ts';
import { PatientWords } from './spin.ts';
import type { Place } from './words.ts';
import * as protocol from './world-protocol.ts';

/**
 * What one vCPU asks all others to do: ask again before the next write to a page; forget what was translated from [host, host + length); ask again
 * where all addresses lead.
 */
export type WorldRequest = 'dropWrites' | 'codeWritten' | 'mapChanged';

export type StopTheWorldOptions = {
  /** `worldBytes(vcpus)` bytes: zeroed, aligned to 64. */
  readonly place: Place;
  readonly vcpus: number;
  /** The vCPU of this thread; 'outsider' on a thread that runs none. */
  readonly me: number | 'outsider';
  /** Makes a vCPU leave generated code soon, from any thread. What it sets must not be cleared between `enterGuest` and the guest's first instruction. */
  readonly kick: (vcpu: number) => void;
  /**
   * Does what another asked for, on this thread, outside of generated code. 'everything': requests were lost; do all that there is to ask for, everywhere.
   * Must not ask for anything itself.
   */
  readonly apply: (kind: WorldRequest | 'everything', host: number, length: number) => void;
  /** How long to wait awake for others, in µs, where it pays: 0 unless there is a core for each thread that runs. By default 20. */
  readonly spinUs?: number;
};

/** Requests that can wait for a vCPU which is outside: pages that were filled while it was halted, mostly. */
const SLOTS = 4096;

/** Others stand aside within a few microseconds, unless the host has taken their processor away; to sleep and wake takes ten times that. */
const STEP_ASIDE_US = 200;

const NAP = new Int32Array(new SharedArrayBuffer(4));
const NAP_MS = 0.03;
/** Exclusive so often while somebody slept until that was over. */
const STARVING = 8;

const KINDS: readonly (WorldRequest | 'everything')[] = ['everything', 'dropWrites', 'codeWritten', 'mapChanged'];
const kindOf = { dropWrites: 1, codeWritten: 2, mapChanged: 3 } as const;

export const worldBytes = (vcpus: number): number => protocol.worldBytes(vcpus, SLOTS);

/**
 * Exclusive access and broadcasts among the vCPUs of a machine; each thread makes one of its own. While a vCPU's thread waits in here, as while it is
 * outside of the guest, others' requests are applied to it or kept for it: after `broadcast` and `enter`, what it knew of translations is to be
 * looked up again.
 */
export class StopTheWorld {
  readonly #world: protocol.World;
  readonly #address: number;
  readonly #me: number;
  readonly #kick: (vcpu: number) => void;
  readonly #apply: protocol.Apply;
  #slept = 0;
  /** Calls of `enter` without their `leave`, counting the processor's own; only right while this vCPU has exclusivity. */
  #depth = 0;

  /** @throws ThreadError `THREADS_INVALID` */
  constructor({ place, vcpus, me, kick, apply, spinUs = STEP_ASIDE_US }: StopTheWorldOptions) {
    this.#world = { words: new PatientWords(place, worldBytes(vcpus), spinUs), vcpus, slots: SLOTS };
    this.#address = place.byteOffset;
    this.#me = me === 'outsider' ? protocol.OUTSIDER : me;
    this.#kick = kick;
    this.#apply = (kind, host, length) => apply(KINDS[kind], host, length);
  }

  /** Before generated code runs: applies what waits; blocks while another has exclusivity. @throws ThreadError `THREADS_CANNOT_BLOCK` */
  enterGuest(): void {
    protocol.enterGuest(this.#world, this.#me, this.#apply);
  }

  /** After generated code, and before anything that blocks: nobody waits for this vCPU until `enterGuest`. */
  leaveGuest(): void {
    protocol.leaveGuest(this.#world, this.#me);
  }

  /** At an instruction boundary, inside: does what others wait for; true if there was something. */
  serve(): boolean {
    if (!protocol.isAsked(this.#world, this.#me)) return false;
    this.leaveGuest();
    this.enterGuest();
    return true;
  }

  /** Returns when no other vCPU runs guest code, until as many calls of `leave`. Inside or outside of the guest. @throws ThreadError `THREADS_CANNOT_BLOCK` */
  enter(): void {
    if (protocol.hasExclusivity(this.#world, this.#me)) {
      this.#depth = Math.max(this.#depth, 1) + 1;
      return;
    }
    protocol.enter(this.#world, this.#me, this.#kick, this.#apply);
    this.#depth = 1;
  }
  leave(): void {
    if (this.#depth > 1) {
      this.#depth--;
      return;
    }
    this.#slept = protocol.leave(this.#world) ? this.#slept + 1 : 0;
    if (this.#slept < STARVING) return;
    // It takes the others so long to wake that who enters again and again would never let them.
    this.#slept = 0;
    Atomics.wait(NAP, 0, 0, NAP_MS);
  }

  /** What generated code needs to enter and leave by itself, if the place is in its linear memory. */
  get words(): Omit<ExclusiveWords, 'looks'> {
    const address = this.#address;
    return {
      exclusive: address + 4 * protocol.EXCLUSIVE,
      id: protocol.idOf(this.#me),
      head: address + 4 * protocol.HEAD,
      states: address + 4 * protocol.stateAt(0),
      stateBytes: protocol.STATE_BYTES,
      processors: this.#world.vcpus,
      me: this.#me,
      wait: () => protocol.stopOthers(this.#world, this.#me, this.#kick),
      enterGuest: () => this.enterGuest(),
    };
  }

  /** Others' generated code finds this vCPU's `exitRequest` at this address. */
  announce(exitRequest: number): void {
    protocol.announce(this.#world, this.#me, exitRequest);
  }

  /**
   * Returns when no other vCPU runs guest code without having applied the request, with a number for `hasApplied`. Inside or outside.
   * @throws ThreadError `THREADS_CANNOT_BLOCK`
   */
  broadcast(kind: WorldRequest, host: number, length: number): number {
    return protocol.broadcast(this.#world, this.#me, kindOf[kind], host, length, this.#kick, this.#apply);
  }

  /** Whether a vCPU has applied a broadcast already. One that has not is outside, and will before it runs guest code. */
  hasApplied(vcpu: number, broadcast: number): boolean {
    return protocol.hasApplied(this.#world, vcpu, broadcast);
  }

  /**
   * The same without waiting for it: applied at the next instruction boundary of each, so before an interrupt that is sent after this. For threads that
   * should not block; another call that is about to be made is all that this waits for.
   */
  post(kind: WorldRequest, host: number, length: number): void {
    protocol.post(this.#world, this.#me, kindOf[kind], host, length, this.#kick);
  }

  /** A vCPU's thread ended without `leaveGuest` or `leave`: to be called by another thread, after that. */
  retire(vcpu: number): void {
    protocol.retire(this.#world, vcpu);
  }
}
