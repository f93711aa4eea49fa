/**
 * Every order in which threads can come between one another's operations on the words of an eventfd. Threads run the functions of
 * src/protocol.ts themselves: a function is replayed with the results that it got so far, up to its next operation, which then takes place.
 */
import type { Side, Words } from '../src/protocol.ts';

/** What a thread does next: goes on with what it counted so far, ends, or goes on after sleeping while a side's word is an epoch. */
export type Next = { readonly sum: bigint; readonly next: 'again' | 'end' | { readonly side: Side; readonly epoch: number } };
/** One turn of a thread. All that it remembers from turn to turn is `sum`. */
export type Program = (words: Words, sum: bigint) => Next;

type Thread = {
  readonly sum: bigint;
  /** What it sleeps on. */
  readonly epoch: number;
  /** The results of the operations in the present turn. */
  readonly log: readonly (bigint | number | boolean | undefined)[];
  readonly at: 'running' | 'ended' | `before sleep: ${Side}` | `asleep: ${Side}`;
};
type State = {
  readonly count: bigint;
  readonly epochs: Readonly<Record<Side, number>>;
  readonly closed: boolean;
  readonly threads: readonly Thread[];
};

export type Verdict = {
  /** Different states that were reached. */
  readonly states: number;
  /** The sums of the threads and the count, wherever all threads ended. */
  readonly ends: ReadonlySet<string>;
  /** What each thread is at, wherever none can go on and not all have ended. */
  readonly stuck: ReadonlySet<string>;
};

/** Leaves a function whose next operation is not due. */
const notDue = Symbol('not due');

export function explore(programs: readonly Program[], initial: bigint, wakes: 'all' | 'one' = 'all'): Verdict {
  const start: State = {
    count: initial,
    epochs: { readers: 0, writers: 0 },
    closed: false,
    threads: programs.map(() => ({ sum: 0n, epoch: 0, log: [], at: 'running' })),
  };
  const seen = new Set([keyOf(start)]);
  const ends = new Set<string>();
  const stuck = new Set<string>();
  const todo = [start];
  for (let state = todo.pop(); state; state = todo.pop()) {
    let moved = false;
    for (const [i, program] of programs.entries()) {
      const next = step(state, i, program, wakes);
      if (!next) continue;
      moved = true;
      const key = keyOf(next);
      if (!seen.has(key)) todo.push(next);
      seen.add(key);
    }
    if (moved) continue;
    if (state.threads.every(({ at }) => at === 'ended'))
      ends.add([...state.threads.map(({ sum }) => sum), state.count].join(' '));
    else stuck.add(state.threads.map(({ at }) => at).join(', '));
  }
  return { states: seen.size, ends, stuck };
}

const keyOf = ({ count, epochs, closed, threads }: State): string =>
  `${count} ${epochs.readers}${epochs.writers}${closed} ${threads.map(({ sum, epoch, log, at }) => `${sum} ${epoch} ${at} ${log.join()}`).join(';')}`;

/** The state after one operation of one thread; undefined if it sleeps or has ended. */
function step(state: State, index: number, program: Program, wakes: 'all' | 'one'): State | undefined {
  const thread = state.threads[index];
  const put = (changed: Thread, all = state.threads): readonly Thread[] => all.map((other, i) => (i === index ? changed : other));
  if (thread.at === 'ended' || thread.at.startsWith('asleep')) return undefined;
  if (thread.at !== 'running') {
    const side = thread.at === 'before sleep: readers' ? 'readers' : 'writers';
    return { ...state, threads: put({ ...thread, at: state.epochs[side] !== thread.epoch ? 'running' : `asleep: ${side}` }) };
  }
  let { count, epochs, closed, threads } = state;
  const log = [...thread.log];
  let replayed = 0;
  const operation = <T extends bigint | number | boolean | undefined>(perform: () => T): T => {
    if (replayed === thread.log.length) log.push(perform());
    else if (replayed > thread.log.length) throw notDue;
    return log[replayed++] as T;
  };
  const words: Words = {
    count: () => operation(() => count),
    exchangeCount: (value) =>
      operation(() => {
        const before = count;
        count = value;
        return before;
      }),
    compareExchangeCount: (expected, value) =>
      operation(() => {
        const before = count;
        if (before === expected) count = value;
        return before;
      }),
    epoch: (side) => operation(() => epochs[side]),
    compareExchangeEpoch: (side, expected, value) =>
      operation(() => {
        const before = epochs[side];
        if (before === expected) epochs = { ...epochs, [side]: value };
        return before;
      }),
    isClosed: () => operation(() => closed),
    setClosed: () =>
      operation(() => {
        closed = true;
        return undefined;
      }),
    wake: (side) =>
      operation(() => {
        let woken = 0;
        threads = threads.map((other): Thread => {
          if (other.at !== `asleep: ${side}` || (wakes === 'one' && woken++ > 0)) return other;
          return { ...other, at: 'running' };
        });
        return undefined;
      }),
  };
  let after: Thread;
  try {
    const { sum, next } = program(words, thread.sum);
    const rest = { sum, epoch: typeof next === 'string' ? 0 : next.epoch, log: [] };
    after = { ...rest, at: next === 'again' ? 'running' : next === 'end' ? 'ended' : `before sleep: ${next.side}` };
  } catch (error) {
    if (error !== notDue) throw error;
    after = { ...thread, log };
  }
  return { count, epochs, closed, threads: put(after, threads) };
}
