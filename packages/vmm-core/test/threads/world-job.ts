/** A vCPU that runs guest code of a sort, now and then wants to be alone or asks for something, and looks whether what it was promised holds. */
import { StopTheWorld, worldBytes } from '../../src/threads/stop-the-world.ts';
import type { Place } from '../../src/threads/words.ts';

export type WorldJob = {
  readonly kind: 'world';
  readonly place: Place;
  readonly vcpus: number;
  readonly me: number;
  /** How often it enters the guest. */
  readonly times: number;
};

/** What each vCPU shows the others: what makes it leave, whether it runs, the last request that it made, and that was done. */
const SHOWN = 16;
const [EXIT, GUEST, ISSUED, DONE] = [0, 1, 2, 3];
/** Behind them: who is alone, how often somebody was, and a sum that is right only if they were. */
const [ALONE, COUNT, SUM] = [0, 1, 2];

export const jobBytes = (vcpus: number): number => worldBytes(vcpus) + (vcpus + 1) * SHOWN * 4;
/** How often somebody was alone, and the sum of it. */
export function totals({ buffer }: Place, vcpus: number): { count: number; sum: number } {
  const words = new Int32Array(buffer, worldBytes(vcpus) + vcpus * SHOWN * 4, SHOWN);
  return { count: Atomics.load(words, COUNT), sum: words[SUM] };
}

const REQUESTS = 0x10_0000;

export function runWorld({ place, vcpus, me, times }: WorldJob): number {
  const words = new Int32Array(place.buffer, place.byteOffset + worldBytes(vcpus));
  const at = (vcpu: number, word: number): number => vcpu * SHOWN + word;
  const common = (word: number): number => vcpus * SHOWN + word;
  const load = (index: number): number => Atomics.load(words, index);
  const store = (index: number, value: number): void => void Atomics.store(words, index, value);
  const applied = new Int32Array(vcpus);
  const world = new StopTheWorld({
    place,
    vcpus,
    me,
    kick: (vcpu) => store(at(vcpu, EXIT), -1),
    apply: (kind, host, length) => {
      if (kind === 'everything') for (let i = 0; i < vcpus; i++) applied[i] = load(at(i, ISSUED));
      else {
        if (kind !== (host % 2 ? 'dropWrites' : 'codeWritten') || length !== host % 1000)
          throw new Error(`the request ${kind} ${host} ${length} is none`);
        applied[Math.floor(host / REQUESTS)] = host % REQUESTS;
      }
    },
  });
  let issued = 0;
  let alone = 0;

  const look = (): void => {
    if (load(common(ALONE)) !== 0) throw new Error('guest code runs during exclusivity');
    for (let i = 0; i < vcpus; i++)
      if (i !== me && load(at(i, DONE)) > applied[i])
        throw new Error(`request ${load(at(i, DONE))} of ${i} is done, but not here`);
  };
  const ask = (): void => {
    const host = me * REQUESTS + ++issued;
    store(at(me, ISSUED), issued);
    world.broadcast(host % 2 ? 'dropWrites' : 'codeWritten', host, host % 1000);
    store(at(me, DONE), issued);
  };
  const beAlone = (): void => {
    world.enter();
    if (Atomics.exchange(words, common(ALONE), 1) !== 0) throw new Error('two are alone');
    for (let i = 0; i < vcpus; i++) if (load(at(i, GUEST)) !== 0) throw new Error('guest code runs, says its flag');
    words[common(SUM)] += 1;
    Atomics.add(words, common(COUNT), 1);
    store(common(ALONE), 0);
    world.leave();
    alone++;
  };

  for (let turn = 1; turn <= times; turn++) {
    store(at(me, EXIT), 0);
    world.enterGuest();
    store(at(me, GUEST), 1);
    for (let i = 0; i < 200 && load(at(me, EXIT)) === 0; i++) look();
    store(at(me, GUEST), 0);
    if (turn % 3 === me % 3) ask();
    if (turn % 5 === me % 5) beAlone();
    if (turn % 7 === 0) world.serve();
    world.leaveGuest();
    if (turn % 11 === 0) beAlone();
    if (turn % 13 === 0) ask();
  }
  return alone;
}
