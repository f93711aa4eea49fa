/**
 * How vCPUs make one another stop. Each has a word STATE: whether it is inside of generated code, how far it has applied the requests of all, and
 * whether someone sleeps until that changes. Requests are entries of one log; HEAD counts them.
 *
 * Whoever asks for something changes a word (HEAD, EXCLUSIVE) and then looks at the others' STATE; whoever goes inside changes its STATE and then
 * looks at these words, and goes outside again if there is something. So one of the two sees the other. Whoever waits for others is outside
 * meanwhile, and is waited for by nobody: that is why two who wait for each other cannot be.
 *
 * A vCPU that is outside applies what it missed on its way in; if the log has wrapped around, it drops everything that a request could name.
 */
import { array, defineLayout } from '@tsvisor/state-layout';
import { FOREVER, line, type Words } from './words.ts';

export const WORLD = defineLayout('world', { head: line, lock: line, exclusive: line }, { size: 192 });
const VCPU = defineLayout(
  'world: vCPU',
  {
    state: 'i32',
    /** Address of what makes its processor leave generated code, for others' generated code; 0 until it has one. */
    exitRequest: 'i32',
    rest: array('i32', 14),
  },
  { size: 64 },
);
const REQUEST = defineLayout('world: request', { kind: 'i32', from: 'i32', host: 'i32', length: 'i32' }, { size: 16 });

export const HEAD = WORLD.offset.head / 4;
/** Both: 0, or who has it, and in bit 0 whether someone sleeps until it is free. */
export const LOCK = WORLD.offset.lock / 4;
export const EXCLUSIVE = WORLD.offset.exclusive / 4;

export type World = {
  readonly words: Words;
  readonly vcpus: number;
  /** Requests that the log keeps, and one more. */
  readonly slots: number;
};
/** Who asks: a vCPU, or a thread that never runs guest code. */
export const OUTSIDER = -1;

export const stateAt = (vcpu: number): number => (WORLD.size + vcpu * VCPU.size) / 4;
export const STATE_BYTES = VCPU.size;
const exitRequestAt = (vcpu: number): number => stateAt(vcpu) + VCPU.offset.exitRequest / 4;
const slotAt = ({ vcpus, slots }: World, count: number): number =>
  stateAt(vcpus) + ((count & 0x3fff_ffff) % slots) * (REQUEST.size / 4);
export const worldBytes = (vcpus: number, slots: number): number => stateAt(vcpus) * 4 + slots * REQUEST.size;

const SLEEPERS_HERE = 1;

const INSIDE = 1;
const SLEEPERS = 2;
/** Counts have the other 30 bits of STATE, and go around. */
const wrapped = (count: number): number => (count << 2) >> 2;
const distance = (later: number, earlier: number): number => wrapped(later - earlier);
const appliedIn = (state: number): number => state >> 2;

/** What to do on a vCPU's thread before it runs guest code again. */
export type Apply = (kind: number, host: number, length: number) => void;
export type Kick = (vcpu: number) => void;
/** Instead of the requests that the log has lost. */
export const EVERYTHING = 0;

export const idOf = (who: number): number => (who + 2) << 1;
const isOwnedBy = (value: number, who: number): boolean => (value & ~SLEEPERS_HERE) === idOf(who);

function sleepUntilFree(words: Words, word: number, value: number): void {
  if (!(value & SLEEPERS_HERE) && words.compareExchange(word, value, value | SLEEPERS_HERE) !== value) return;
  words.sleep(word, value | SLEEPERS_HERE, FOREVER);
}

function take(words: Words, word: number, who: number): void {
  for (let value: number; (value = words.compareExchange(word, 0, idOf(who))) !== 0; ) sleepUntilFree(words, word, value);
}

/** Whether somebody slept until it was free. */
function release(words: Words, word: number): boolean {
  const slept = (words.exchange(word, 0) & SLEEPERS_HERE) !== 0;
  if (slept) words.wake(word);
  return slept;
}

function setState(words: Words, vcpu: number, applied: number, mode: typeof INSIDE | 0): void {
  const at = stateAt(vcpu);
  if (words.exchange(at, (applied << 2) | mode) & SLEEPERS) words.wake(at);
}

/** Applies what is in the log behind `applied`; returns where the log ends. */
function catchUp(world: World, me: number, applied: number, apply: Apply): number {
  const { words, slots } = world;
  for (let head: number; (head = words.load(HEAD)) !== applied; ) {
    if (distance(head, applied) >= slots) {
      apply(EVERYTHING, 0, 0);
      applied = head;
      continue;
    }
    const slot = slotAt(world, applied);
    const kind = words.load(slot);
    const from = words.load(slot + 1);
    const host = words.load(slot + 2);
    const length = words.load(slot + 3);
    // The next one who asks may have begun to overwrite the slot.
    if (distance(words.load(HEAD), applied) >= slots) continue;
    if (from !== me) apply(kind, host >>> 0, length >>> 0);
    applied = wrapped(applied + 1);
  }
  return applied;
}

const mayRun = (exclusive: number, me: number): boolean => exclusive === 0 || isOwnedBy(exclusive, me);

/** Before guest code: applies what waits, and waits while another has exclusivity. */
export function enterGuest(world: World, me: number, apply: Apply): void {
  const { words } = world;
  let applied = appliedIn(words.load(stateAt(me)));
  for (;;) {
    applied = catchUp(world, me, applied, apply);
    setState(words, me, applied, INSIDE);
    const exclusive = words.load(EXCLUSIVE);
    if (mayRun(exclusive, me) && words.load(HEAD) === applied) return;
    setState(words, me, applied, 0);
    if (!mayRun(exclusive, me)) sleepUntilFree(words, EXCLUSIVE, exclusive);
  }
}

export function leaveGuest({ words }: World, me: number): void {
  setState(words, me, appliedIn(words.load(stateAt(me))), 0);
}

/** At an instruction boundary, inside: whether there is something to leave for. */
export function isAsked({ words }: World, me: number): boolean {
  return words.load(HEAD) !== appliedIn(words.load(stateAt(me))) || !mayRun(words.load(EXCLUSIVE), me);
}

/** Before a thread waits for others; true if it was inside, and has to enter again. */
function stepOut(world: World, me: number): boolean {
  const inside = me !== OUTSIDER && (world.words.load(stateAt(me)) & INSIDE) !== 0;
  if (inside) leaveGuest(world, me);
  return inside;
}

/** Puts a request into the log; returns the count of requests with it. */
function publish(world: World, me: number, kind: number, host: number, length: number): number {
  const { words } = world;
  take(words, LOCK, me);
  const head = words.load(HEAD);
  const slot = slotAt(world, head);
  words.store(slot, kind);
  words.store(slot + 1, me);
  words.store(slot + 2, host);
  words.store(slot + 3, length);
  words.store(HEAD, wrapped(head + 1));
  release(words, LOCK);
  return wrapped(head + 1);
}

/** Whether a vCPU in this state need not be waited for. `count`: until it has applied so many; without it, until it is outside. */
const isSettled = (state: number, count: number | undefined): boolean =>
  !(state & INSIDE) || (count !== undefined && distance(appliedIn(state), count) >= 0);

function kickAll({ words, vcpus }: World, me: number, kick: Kick, count?: number): void {
  for (let i = 0; i < vcpus; i++) if (i !== me && !isSettled(words.load(stateAt(i)), count)) kick(i);
}

function awaitAll({ words, vcpus }: World, me: number, count?: number): void {
  for (let i = 0; i < vcpus; i++) {
    if (i === me) continue;
    const at = stateAt(i);
    for (let state: number; !isSettled((state = words.load(at)), count); ) {
      if (!(state & SLEEPERS) && words.compareExchange(at, state, state | SLEEPERS) !== state) continue;
      words.sleep(at, state | SLEEPERS, FOREVER);
    }
  }
}

/** Whether a vCPU has applied the requests up to a count that `broadcast` returned. One that has not is outside, and will before it runs. */
export const hasApplied = ({ words }: World, vcpu: number, count: number): boolean =>
  distance(appliedIn(words.load(stateAt(vcpu))), count) >= 0;

/** Returns when every other vCPU has applied the request, or will have before it runs guest code; the count of requests with it. */
export function broadcast(
  world: World,
  me: number,
  kind: number,
  host: number,
  length: number,
  kick: Kick,
  apply: Apply,
): number {
  const inside = stepOut(world, me);
  const count = publish(world, me, kind, host, length);
  kickAll(world, me, kick, count);
  awaitAll(world, me, count);
  if (inside) enterGuest(world, me, apply);
  return count;
}

/** Every other vCPU will have applied the request at its next instruction boundary. Waits for other such calls at most. */
export function post(world: World, me: number, kind: number, host: number, length: number, kick: Kick): void {
  kickAll(world, me, kick, publish(world, me, kind, host, length));
}

/** Returns when every other vCPU is outside, and stays there until `leave`. */
export function enter(world: World, me: number, kick: Kick, apply: Apply): void {
  const inside = stepOut(world, me);
  take(world.words, EXCLUSIVE, me);
  stopOthers(world, me, kick);
  if (inside) enterGuest(world, me, apply);
}

/** Returns when every other vCPU is outside, for one that has exclusivity already and may be inside. */
export function stopOthers(world: World, me: number, kick: Kick): void {
  kickAll(world, me, kick);
  awaitAll(world, me);
}

export const hasExclusivity = ({ words }: World, me: number): boolean => isOwnedBy(words.load(EXCLUSIVE), me);

export function announce({ words }: World, vcpu: number, exitRequest: number): void {
  words.store(exitRequestAt(vcpu), exitRequest);
}

/** Whether others slept meanwhile, who are to get somewhere before the next `enter`. */
export function leave({ words }: World): boolean {
  return release(words, EXCLUSIVE);
}

/** The thread of a vCPU is no more, wherever it was: perhaps between an exchange and the wake that was to follow. Any other thread may say so. */
export function retire({ words }: World, vcpu: number): void {
  for (const word of [LOCK, EXCLUSIVE]) {
    if (isOwnedBy(words.load(word), vcpu)) release(words, word);
    words.wake(word);
  }
  setState(words, vcpu, appliedIn(words.load(stateAt(vcpu))), 0);
  words.wake(stateAt(vcpu));
}
