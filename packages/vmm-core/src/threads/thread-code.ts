import type { View } from '@tsvisor/state-layout';
import { CodeMapUnion } from '../code-map-union.ts';
import type { VCPU_LAYOUT } from '../mp-state.ts';
import type { CodeSharing } from '../ports.ts';
import type { StopTheWorld } from './stop-the-world.ts';

const PAGE = 4096;
const MOST_TOLD = 4096;

export type ThreadCodeParts = {
  readonly memory: WebAssembly.Memory;
  readonly mapAddress: number;
  readonly vcpus: readonly View<typeof VCPU_LAYOUT.schema>[];
  readonly me: number;
  readonly world: StopTheWorld;
  /** Has this thread's processor forget translations. */
  readonly forget: (hostAddress: number, length: number) => void;
};

/**
 * Translated code of processors on several threads. Each has a map of the code that it has translated; stores ask the union of them, which has bits
 * that are stale until somebody meets them: then nobody has such code, and with all others standing still the union is made anew.
 */
export class ThreadCode implements CodeSharing {
  readonly mapAddress: number;
  readonly #union: CodeMapUnion;
  readonly #parts: ThreadCodeParts;
  /** Where nothing may be asked of others now: pages that are to be looked at later. */
  #deferred: Set<number> | undefined;
  readonly #freed = new Set<number>();
  /** Pages that others were told to forget, and the broadcast that did. */
  readonly #told = new Map<number, number>();

  constructor(parts: ThreadCodeParts) {
    this.#parts = parts;
    this.mapAddress = parts.mapAddress;
    this.#union = new CodeMapUnion(parts.memory, parts.mapAddress, parts.vcpus);
  }

  written = (hostAddress: number, length: number): void => {
    const { forget } = this.#parts;
    const mine = this.#holds(this.#parts.me, hostAddress, length);
    if (mine) forget(hostAddress, length);
    const others = this.#otherHolders(hostAddress, length);
    if (others.length > 0) this.#tellOthers(others, hostAddress, length);
    else if (!mine) this.#alone(() => this.#union.renewAll(hostAddress, length));
  };

  /** Others forget whole pages, so that one request does for all stores of somebody who fills one. */
  #tellOthers(others: readonly number[], hostAddress: number, length: number): void {
    const { world } = this.#parts;
    for (let page = Math.floor(hostAddress / PAGE); page * PAGE < hostAddress + length; page++) {
      const told = this.#told.get(page);
      // A halted processor still has the code that it has been told to forget.
      if (told !== undefined && others.every((cpu) => !world.hasApplied(cpu, told))) continue;
      this.counts.codeBroadcasts++;
      if (this.#told.size >= MOST_TOLD) this.#told.clear();
      this.#told.set(page, world.broadcast('codeWritten', page * PAGE, PAGE));
    }
  }

  /**
   * The same for what a page walk or a clock wrote, where the thread must not wait: others hear of it at their next instruction boundary.
   */
  noted = (hostAddress: number, length: number): void => {
    this.forgetQuietly(hostAddress, length);
    if (this.#otherHolders(hostAddress, length).length > 0) this.#parts.world.post('codeWritten', hostAddress, length);
  };

  /** Another processor wrote: has this one forget, asking nothing of others until `settle`. */
  forgetQuietly(hostAddress: number, length: number): void {
    this.#deferred = this.#freed;
    try {
      this.#parts.forget(hostAddress, length);
    } finally {
      this.#deferred = undefined;
    }
  }

  /** Does what had to wait; outside of the guest. `free` is for each page that no processor has code of. */
  settle(free: (hostPage: number) => void): void {
    if (this.#freed.size === 0) return;
    const pages = [...this.#freed];
    this.#freed.clear();
    this.#alone(() => {
      for (const page of pages) if (this.#union.renew(page)) free(page * PAGE);
    });
  }

  /** This processor has no translation of a page any more: runs `free` if no other has, so that none can begin to. */
  ifFree(hostPage: number, free: () => void): void {
    const page = Math.floor(hostPage / PAGE);
    if (this.#deferred) {
      this.#deferred.add(page);
      return;
    }
    if (this.#union.bits(page) !== 0n) return;
    this.#alone(() => {
      if (this.#union.renew(page)) free();
    });
  }

  readonly counts = { codeBroadcasts: 0, codeExclusive: 0 };

  #alone(action: () => void): void {
    const { world } = this.#parts;
    this.counts.codeExclusive++;
    world.enter();
    try {
      action();
    } finally {
      world.leave();
    }
  }

  #otherHolders(host: number, length: number): number[] {
    const { vcpus, me } = this.#parts;
    const holders: number[] = [];
    for (let cpu = 0; cpu < vcpus.length; cpu++) if (cpu !== me && this.#holds(cpu, host, length)) holders.push(cpu);
    return holders;
  }

  /** Whether a processor has marked one of the granules. */
  #holds(cpu: number, host: number, length: number): boolean {
    const vcpu = this.#parts.vcpus[cpu];
    const last = host + length - 1;
    for (let page = Math.floor(host / PAGE); page * PAGE <= last; page++) {
      const from = Math.max(host - page * PAGE, 0) >> 6;
      const to = Math.min(last - page * PAGE, PAGE - 1) >> 6;
      const mask = BigInt.asUintN(64, (1n << BigInt(to + 1)) - (1n << BigInt(from)));
      if ((this.#union.bitsIn(vcpu, page) & mask) !== 0n) return true;
    }
    return false;
  }
}
