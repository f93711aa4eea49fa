/** What generated code does of the protocol by itself: core/exclusivity.ts of x86-cpu, step by step. */
import type { Words } from '../../src/threads/words.ts';
import {
  type Apply,
  EXCLUSIVE,
  enterGuest,
  HEAD,
  idOf,
  type Kick,
  stateAt,
  stopOthers,
  type World,
} from '../../src/threads/world-protocol.ts';

const INSIDE = 1;
const SLEEPERS = 2;
export const STAND_ASIDE = -2;

/** The words beside the protocol's that it looks at. */
export type ExitRequests = (vcpu: number) => number;
/** How often it looks before it calls the protocol. */
const LOOKS = 1;

/** Asks a processor to stand aside, if it is asked nothing yet. The wake is for tests, where generated code sleeps instead of running on. */
export function askAside(words: Words, exitRequest: number): void {
  if (words.compareExchange(exitRequest, 0, STAND_ASIDE) === 0) words.wake(exitRequest);
}

/** False: somebody has exclusivity, so that the protocol has to wait for it. */
export function exclusiveEnter({ vcpus, ...world }: World, me: number, exitRequests: ExitRequests, kick: Kick): boolean {
  const { words } = world;
  if (words.compareExchange(EXCLUSIVE, 0, idOf(me)) !== 0) return false;
  const others = [...Array(vcpus).keys()].filter((vcpu) => vcpu !== me);
  const isInside = (vcpu: number): boolean => (words.load(stateAt(vcpu)) & INSIDE) !== 0;
  for (const vcpu of others) if (isInside(vcpu)) askAside(words, exitRequests(vcpu));
  let looks = LOOKS;
  for (const vcpu of others)
    if (isInside(vcpu))
      do
        if (looks-- === 0) {
          stopOthers({ vcpus, ...world }, me, kick);
          return true;
        }
      while (isInside(vcpu));
  return true;
}

/** False: somebody sleeps until then, whom the protocol has to wake. */
export const exclusiveLeave = ({ words }: World, me: number): boolean =>
  words.compareExchange(EXCLUSIVE, idOf(me), 0) === idOf(me);

/** Whether generated code goes on. */
export function standAside(world: World, me: number, exitRequests: ExitRequests, apply: Apply): boolean {
  const { words } = world;
  if (words.compareExchange(exitRequests(me), STAND_ASIDE, 0) !== STAND_ASIDE) return false;
  const at = stateAt(me);
  let state = words.load(at) & ~SLEEPERS;
  const setState = (): void => {
    if (words.exchange(at, state) & SLEEPERS) words.wake(at);
  };
  for (;;) {
    if (words.load(HEAD) !== state >> 2) return false;
    if (words.load(EXCLUSIVE) === 0) return true;
    state &= ~INSIDE;
    setState();
    let looks = LOOKS;
    do
      if (looks-- === 0) {
        enterGuest(world, me, apply);
        return false;
      }
    while (words.load(EXCLUSIVE) !== 0);
    state |= INSIDE;
    setState();
  }
}
