/**
 * Every order in which threads can come between one another's operations on shared words. Threads run the protocols' functions themselves: a
 * function is replayed with the results that it got so far, up to its next operation. (As packages/eventfd/test/model.ts, for any protocol: words
 * have numbers, and sleeping is an operation as others are. What a thread does next follows from what it saw, so it is replayed once for that.)
 */
import type { Words } from '../../src/threads/words.ts';

/** One turn of a thread. All that it remembers from turn to turn is a number. */
export type Program = (words: Words, memory: number) => number | typeof END;
export const END = 'end';

type Result = number | boolean | undefined;
type Operation =
  | { readonly kind: 'load' | 'wake'; readonly word: number }
  | { readonly kind: 'store' | 'add' | 'exchange'; readonly word: number; readonly value: number }
  | { readonly kind: 'compareExchange'; readonly word: number; readonly expected: number; readonly value: number }
  | { readonly kind: 'sleep'; readonly word: number; readonly value: number; readonly timed: boolean };

/** A thread before its next operation, or asleep in it. */
type Thread = {
  readonly id: number;
  readonly asleep: boolean;
  /** Undefined at its end. */
  readonly operation: Operation | undefined;
  /** The thread with a result of the operation. */
  readonly after: (result: Result) => Thread;
  readonly fallAsleep: () => Thread;
};
/** The words in the order in which they were met. */
type Values = { readonly id: number; readonly of: readonly number[] };
type State = { readonly values: Values; readonly threads: readonly Thread[] };

export type Load = (word: number) => number;
export type Options = {
  /** Words whose owner is clear at any time, as a payload's: nothing comes between an operation on them and the one before. Saves states. */
  readonly plain?: (word: number) => boolean;
  /** What the threads begin with; 0 if not given. */
  readonly memories?: readonly number[];
  /** What is wrong with a state, if anything. */
  readonly invariant?: (load: Load) => string | false | undefined;
  /** What to tell of a state in which all threads have ended. */
  readonly outcome?: (load: Load) => string;
};
export type Verdict = {
  /** Different states that were reached. */
  readonly states: number;
  readonly outcomes: ReadonlySet<string>;
  /** What each thread sleeps on, wherever none can go on and not all have ended. */
  readonly stuck: ReadonlySet<string>;
  readonly broken: ReadonlySet<string>;
};

const LONGEST_TURN = 1000;

/** Makes one thing of what has one key. */
function interned<T>(): (key: string, make: (id: number) => T) => T {
  const all = new Map<string, T>();
  return (key, make) => {
    let found = all.get(key);
    if (found === undefined) all.set(key, (found = make(all.size)));
    return found;
  };
}

/** Leaves a function at its next operation. */
class Next {
  readonly operation: Operation;
  constructor(operation: Operation) {
    this.operation = operation;
  }
}

/** Runs a turn up to the operation behind those whose results are in `log`. */
function replay(program: Program, memory: number, log: readonly Result[]): Operation | { readonly memory: number | typeof END } {
  let replayed = 0;
  const operation = (next: Operation): Result => {
    if (replayed < log.length) return log[replayed++];
    if (replayed === LONGEST_TURN) throw new Error(`a turn of more than ${LONGEST_TURN} operations: does it ever end?`);
    throw new Next(next);
  };
  const words: Words = {
    load: (word) => operation({ kind: 'load', word }) as number,
    store: (word, value) => void operation({ kind: 'store', word, value }),
    add: (word, value) => operation({ kind: 'add', word, value }) as number,
    exchange: (word, value) => operation({ kind: 'exchange', word, value }) as number,
    compareExchange: (word, expected, value) => operation({ kind: 'compareExchange', word, expected, value }) as number,
    wake: (word) => void operation({ kind: 'wake', word }),
    sleep: (word, value, ms) => operation({ kind: 'sleep', word, value, timed: ms !== Number.POSITIVE_INFINITY }) as boolean,
  };
  try {
    return { memory: program(words, memory) };
  } catch (error) {
    if (error instanceof Next) return error.operation;
    throw error;
  }
}

function threadsOf(program: Program): (memory: number) => Thread {
  const intern = interned<Thread>();
  const at = (memory: number, log: readonly Result[]): Thread => {
    const next = replay(program, memory, log);
    if ('memory' in next) return next.memory === END ? ended : begin(next.memory);
    return made(memory, log, next, false);
  };
  const made = (memory: number, log: readonly Result[], operation: Operation, asleep: boolean): Thread =>
    intern(`${memory} ${asleep} ${log.length} ${log.join()}`, (id) => {
      const following = new Map<Result, Thread>();
      const after = (result: Result): Thread => {
        const known = following.get(result);
        if (known) return known;
        const thread = at(memory, [...log, result]);
        following.set(result, thread);
        return thread;
      };
      return { id, asleep, operation, after, fallAsleep: () => made(memory, log, operation, true) };
    });
  const never = (): never => {
    throw new Error('the thread has ended');
  };
  const ended: Thread = intern('ended', (id) => ({ id, asleep: false, operation: undefined, after: never, fallAsleep: never }));
  const begin = (memory: number): Thread => at(memory, []);
  return begin;
}

export function explore(programs: readonly Program[], options: Options = {}): Verdict {
  const isPlain = options.plain ?? (() => false);
  const memory = new Memory();
  const start: State = {
    values: memory.start,
    threads: programs.map((program, i) => threadsOf(program)(options.memories?.[i] ?? 0)),
  };
  const keyOf = ({ values, threads }: State): string => threads.reduce((key, { id }) => `${key},${id}`, String(values.id));
  const seen = new Set([keyOf(start)]);
  const outcomes = new Set<string>();
  const stuck = new Set<string>();
  const broken = new Set<string>();
  const todo = [start];
  for (let state = todo.pop(); state; state = todo.pop()) {
    const { values, threads } = state;
    const load = (word: number): number => memory.load(values, word);
    const wrong = options.invariant?.(load);
    if (wrong) broken.add(wrong);
    let moved = false;
    for (let i = 0; i < threads.length; i++) {
      const next = step(state, i, memory, isPlain);
      if (!next) continue;
      moved = true;
      const key = keyOf(next);
      if (seen.has(key)) continue;
      seen.add(key);
      todo.push(next);
    }
    if (moved) continue;
    if (threads.every(({ operation }) => operation === undefined)) outcomes.add(options.outcome?.(load) ?? '');
    else stuck.add(threads.map(({ operation }) => (operation ? `asleep on ${operation.word}` : 'ended')).join(', '));
  }
  return { states: seen.size, outcomes, stuck, broken };
}

class Memory {
  readonly #slots = new Map<number, number>();
  readonly #intern = interned<Values>();
  readonly start = this.#values([]);

  #values(of: readonly number[]): Values {
    return this.#intern(of.join(), (id) => ({ id, of }));
  }
  load({ of }: Values, word: number): number {
    const slot = this.#slots.get(word);
    return slot === undefined ? 0 : (of[slot] ?? 0);
  }
  store(values: Values, word: number, value: number): Values {
    if (this.load(values, word) === value) return values;
    const slot = this.#slots.get(word) ?? this.#slots.size;
    this.#slots.set(word, slot);
    const of = [...values.of];
    while (of.length < slot) of.push(0);
    of[slot] = value;
    while (of.at(-1) === 0) of.pop();
    return this.#values(of);
  }
}

/** The state after one operation of one thread, with plain ones around it; undefined if it sleeps or has ended. */
function step(state: State, index: number, memory: Memory, isPlain: (word: number) => boolean): State | undefined {
  const { operation, asleep, after } = state.threads[index];
  if (operation === undefined) return undefined;
  if (asleep) return operation.kind === 'sleep' && operation.timed ? put(state, index, after(false)) : undefined;
  let next = perform(state, index, operation, memory);
  let alone = !isPlain(operation.word);
  for (;;) {
    const { operation: following, asleep: sleeps } = next.threads[index];
    if (following === undefined || sleeps || (alone && !isPlain(following.word))) return next;
    if (!isPlain(following.word)) alone = true;
    next = perform(next, index, following, memory);
  }
}

const put = ({ values, threads }: State, index: number, thread: Thread): State => ({
  values,
  threads: threads.map((other, i) => (i === index ? thread : other)),
});

function perform(state: State, index: number, operation: Operation, memory: Memory): State {
  const { values, threads } = state;
  const thread = threads[index];
  const { word } = operation;
  const before = memory.load(values, word);
  const store = (value: number, result: Result): State =>
    put({ values: memory.store(values, word, value | 0), threads }, index, thread.after(result));
  switch (operation.kind) {
    case 'load':
      return put(state, index, thread.after(before));
    case 'store':
      return store(operation.value, undefined);
    case 'add':
      return store(before + operation.value, before);
    case 'exchange':
      return store(operation.value, before);
    case 'compareExchange':
      return store(before === operation.expected ? operation.value : before, before);
    case 'sleep':
      return put(state, index, before === operation.value ? thread.fallAsleep() : thread.after(true));
    case 'wake': {
      const woken = threads.map((other) => (other.asleep && other.operation?.word === word ? other.after(true) : other));
      return put({ values, threads: woken }, index, thread.after(undefined));
    }
  }
}
