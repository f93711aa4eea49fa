import { describe, expect, it } from 'vitest';
import { HIGHEST, OVERFLOW } from '../src/layout.ts';
import type { Attempt, Side, Words } from '../src/protocol.ts';
import { add, close, prepareRead, prepareWrite, signal, take } from '../src/protocol.ts';
import { explore, type Program } from './model.ts';

const once =
  (action: (words: Words) => void): Program =>
  (words, sum) => {
    action(words);
    return { sum, next: 'end' };
  };
const signaller = (times: bigint): Program => {
  return (words, sum) => {
    signal(words, 1n);
    return { sum: sum + 1n, next: sum + 1n === times ? 'end' : 'again' };
  };
};
/** Reads until it has `wanted`, or the eventfd is closed. */
const reader =
  (wanted: bigint, semaphore = false, prepare: (words: Words, semaphore: boolean) => Attempt<bigint> = prepareRead): Program =>
  (words, sum) => {
    const attempt = prepare(words, semaphore);
    if (attempt === 'closed') return { sum, next: 'end' };
    if ('epoch' in attempt) return { sum, next: { side: 'readers', epoch: attempt.epoch } };
    const total = sum + attempt.value;
    return { sum: total, next: total >= wanted ? 'end' : 'again' };
  };
const writer =
  (n: bigint): Program =>
  (words, sum) => {
    const attempt = prepareWrite(words, n);
    if (attempt === 'closed') return { sum, next: 'end' };
    return 'epoch' in attempt ? { sum, next: { side: 'writers', epoch: attempt.epoch } } : { sum: n, next: 'end' };
  };
/** A reader whose time is over before it sleeps. */
const impatient: Program = (words, sum) => {
  const attempt = prepareRead(words, true);
  return { sum: sum + (attempt !== 'closed' && 'value' in attempt ? attempt.value : 0n), next: 'end' };
};

const FOREVER = OVERFLOW;

describe('in every order of their operations', () => {
  const cases: [name: string, programs: Program[], initial: bigint, ends: string[]][] = [
    ['two signals reach a reader', [signaller(2n), reader(2n)], 0n, ['2 2 0']],
    ['the signals of two threads reach a reader', [signaller(1n), signaller(2n), reader(3n)], 0n, ['1 2 3 0']],
    ['a semaphore lets two readers go', [signaller(2n), reader(1n, true), reader(1n, true)], 0n, ['2 1 1 0']],
    [
      'a semaphore signalled by two lets two readers go',
      [signaller(1n), signaller(1n), reader(1n, true), reader(1n, true)],
      0n,
      ['1 1 1 1 0'],
    ],
    ['one that gives up takes no wake-up from another', [signaller(2n), impatient, reader(1n, true)], 0n, ['2 0 1 1', '2 1 1 0']],
    ['a writer gets its room', [writer(2n), reader(HIGHEST + 1n)], HIGHEST - 1n, [`2 ${HIGHEST + 1n} 0`]],
    [
      'two writers get their room',
      [writer(2n), writer(HIGHEST), reader(2n * HIGHEST + 1n)],
      HIGHEST - 1n,
      [`2 ${HIGHEST} ${2n * HIGHEST + 1n} 0`],
    ],
    [
      'a signal beyond the highest count is an overflow, or comes after the read',
      [signaller(2n), once((words) => void take(words, false))],
      HIGHEST,
      ['2 0 2', '2 0 1', '2 0 0'],
    ],
    [
      'a write that does not block adds or does not',
      [once((words) => void add(words, 2n)), once((words) => signal(words, 1n))],
      HIGHEST - 2n,
      [`0 0 ${OVERFLOW}`, `0 0 ${HIGHEST - 1n}`],
    ],
    [
      'closing ends all',
      [once(close), reader(FOREVER), reader(FOREVER), signaller(1n)],
      0n,
      ['0 0 1 1 0', '0 1 0 1 0', '0 0 0 1 1'],
    ],
    ['closing ends writers', [once(close), writer(1n), writer(2n)], HIGHEST, [`0 0 0 ${HIGHEST}`]],
  ];
  for (const [name, programs, initial, ends] of cases)
    it(name, () => {
      const verdict = explore(programs, initial);
      expect([...verdict.stuck]).toEqual([]);
      expect([...verdict.ends].sort()).toEqual([...ends].sort());
    });
});

describe('the search finds what is wrong', () => {
  /** Words in which nobody seems to sleep. */
  const alone = (words: Words): Words => ({ ...words, epoch: () => 0 });
  const wakingBefore = (words: Words): void => {
    const epoch = words.epoch('readers');
    const sleeping = epoch & 1 && words.compareExchangeEpoch('readers', epoch, epoch + 1) === epoch;
    signal(alone(words), 1n);
    if (sleeping) words.wake('readers');
  };
  const withoutSecondLook = (words: Words, semaphore: boolean): Attempt<bigint> => {
    const value = take(words, semaphore);
    if (value !== 0n) return { value };
    const epoch = words.epoch('readers');
    words.compareExchangeEpoch('readers', epoch, epoch | 1);
    return { epoch: epoch | 1 };
  };
  const closingLate = (words: Words): void => {
    close({ ...words, setClosed: () => undefined });
    words.setClosed();
  };
  /** Whether someone sleeps, and not in which epoch. */
  const bit = (words: Words): Words => ({
    ...words,
    compareExchangeEpoch: (side: Side, expected, value) => words.compareExchangeEpoch(side, expected, value & 1),
  });
  const withBit =
    (program: Program): Program =>
    (words, sum) =>
      program(bit(words), sum);
  const cases: [name: string, programs: Program[], wakes?: 'one'][] = [
    ['a sleeper that does not look again', [signaller(1n), reader(1n, false, withoutSecondLook)]],
    ['a signaller that looks for sleepers before it adds', [once(wakingBefore), reader(1n)]],
    ['a signaller that looks for nobody', [once((words) => signal(alone(words), 1n)), reader(1n)]],
    ['closing that wakes before it closes', [once(closingLate), reader(FOREVER)]],
    ['a bit instead of an epoch, where two sleep', [signaller(2n), reader(1n, true), reader(1n, true)].map(withBit)],
    ['waking one where two sleep', [signaller(2n), reader(1n, true), reader(1n, true)], 'one'],
  ];
  for (const [name, programs, wakes] of cases)
    it(name, () => {
      expect(explore(programs, 0n, wakes).stuck.size).toBeGreaterThan(0);
    });
});
