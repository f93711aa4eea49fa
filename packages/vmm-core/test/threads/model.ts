/**
 * Every order in which threads can come between one another's operations on shared words. Threads run the protocols' functions themselves: a
 * function is replayed with the results that it got so far, up to its next operation, which then takes place. (As packages/eventfd/test/model.ts,
 * for any protocol: words have numbers, and sleeping is an operation as others are.)
 */
import type { Words } from '../../src/threads/words.ts';

/** One turn of a thread. All that it remembers from turn to turn is a number. */
export type Program = (words: Words, memory: number) => number | typeof END;
export const END = 'end';

type Result = number | boolean | undefined;
type Thread = {
  readonly memory: number;
  /** The results of the operations in the present turn. */
  readonly log: readonly Result[];
  /** The word that it sleeps on, -1 once it has ended, or it runs. */
  readonly asleep: number | undefined;
  /** It sleeps for a limited time. */
  readonly timed: boolean;
};
/** `values` are those of the words in the order in which they were met. */
type State = { readonly values: readonly number[]; readonly threads: readonly Thread[] };

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

const ENDED = -1;
const LONGEST_TURN = 1000;
/** Leaves a function whose next operation is not due. */
const notDue = Symbol('not due');

export function explore(programs: readonly Program[], options: Options = {}): Verdict {
  const slots = new Map<number, number>();
  const slotOf = (word: number): number => {
    const slot = slots.get(word) ?? slots.size;
    if (slot === slots.size) slots.set(word, slot);
    return slot;
  };
  const start: State = {
    values: [],
    threads: programs.map((_, i) => ({ memory: options.memories?.[i] ?? 0, log: [], asleep: undefined, timed: false })),
  };
  const seen = new Set([keyOf(start)]);
  const outcomes = new Set<string>();
  const stuck = new Set<string>();
  const broken = new Set<string>();
  const todo = [start];
  for (let state = todo.pop(); state; state = todo.pop()) {
    const { values, threads } = state;
    const load = (word: number): number => values[slotOf(word)] ?? 0;
    const wrong = options.invariant?.(load);
    if (wrong) broken.add(wrong);
    let moved = false;
    for (let i = 0; i < programs.length; i++) {
      const next = step(state, i, programs[i], slotOf, options.plain ?? (() => false));
      if (!next) continue;
      moved = true;
      const key = keyOf(next);
      if (seen.has(key)) continue;
      seen.add(key);
      todo.push(next);
    }
    if (moved) continue;
    if (threads.every(({ asleep }) => asleep === ENDED)) outcomes.add(options.outcome?.(load) ?? '');
    else stuck.add(threads.map(({ asleep }) => (asleep === ENDED ? 'ended' : `asleep on ${asleep}`)).join(', '));
  }
  return { states: seen.size, outcomes, stuck, broken };
}

function keyOf({ values, threads }: State): string {
  let key = '';
  for (let slot = 0, zeros = ''; slot < values.length; slot++) {
    if ((values[slot] ?? 0) === 0) zeros += ',';
    else {
      key += `${zeros}${values[slot]},`;
      zeros = '';
    }
  }
  for (const { memory, log, asleep } of threads) key += `;${memory} ${asleep} ${log.join()}`;
  return key;
}

/** The state after one operation of one thread; undefined if it sleeps or has ended. */
function step(
  state: State,
  index: number,
  program: Program,
  slotOf: (word: number) => number,
  isPlain: (word: number) => boolean,
): State | undefined {
  const thread = state.threads[index];
  const put = (changed: Thread, all = state.threads): readonly Thread[] => all.map((other, i) => (i === index ? changed : other));
  if (thread.asleep !== undefined) {
    if (!thread.timed) return undefined;
    return { ...state, threads: put({ ...thread, asleep: undefined, timed: false, log: [...thread.log, false] }) };
  }
  let { values, threads } = state;
  let sleeping: Pick<Thread, 'asleep' | 'timed'> = { asleep: undefined, timed: false };
  const log = [...thread.log];
  let replayed = 0;
  let due = true;
  const operation = (word: number, perform: () => Result): Result => {
    if (replayed === log.length) {
      const plain = isPlain(word);
      if (!plain && !due) throw notDue;
      if (!plain) due = false;
      if (replayed === LONGEST_TURN) throw new Error(`a turn of more than ${LONGEST_TURN} operations: does it ever end?`);
      log.push(perform());
    }
    return log[replayed++];
  };
  const load = (word: number): number => values[slotOf(word)] ?? 0;
  const change = (word: number, to: (before: number) => number): number =>
    operation(word, () => {
      const before = load(word);
      const slot = slotOf(word);
      const copy = Array.from({ length: Math.max(values.length, slot + 1) }, (_, i) => values[i] ?? 0);
      copy[slot] = to(before) | 0;
      values = copy;
      return before;
    }) as number;
  const words: Words = {
    load: (word) => operation(word, () => load(word)) as number,
    store: (word, value) => void change(word, () => value),
    add: (word, n) => change(word, (before) => before + n),
    exchange: (word, value) => change(word, () => value),
    compareExchange: (word, expected, value) => change(word, (before) => (before === expected ? value : before)),
    wake: (word) =>
      void operation(word, () => {
        threads = threads.map((other) =>
          other.asleep === word ? { ...other, asleep: undefined, timed: false, log: [...other.log, true] } : other,
        );
        return undefined;
      }),
    sleep: (word, value, ms) => {
      if (replayed === log.length && due && load(word) === value) {
        sleeping = { asleep: word, timed: ms !== Number.POSITIVE_INFINITY };
        throw notDue;
      }
      return operation(word, () => true) as boolean;
    },
  };
  let after: Thread;
  try {
    const memory = program(words, thread.memory);
    after = { memory: memory === END ? 0 : memory, log: [], asleep: memory === END ? ENDED : undefined, timed: false };
  } catch (error) {
    if (error !== notDue) throw error;
    after = { ...thread, ...sleeping, log };
  }
  return { values, threads: put(after, threads) };
}
