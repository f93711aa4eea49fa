import { describe, expect, it } from 'vitest';
import * as protocol from '../../src/threads/mailbox-protocol.ts';
import { ARMED, CLOSED, mailboxAt, REQUEST, RESPONSE, SHUT, WAITING } from '../../src/threads/mailbox-protocol.ts';
import { FOREVER, type Words } from '../../src/threads/words.ts';
import { END, explore, type Program } from './model.ts';

/** What stands for the payload. */
const VALUE = protocol.MAILBOX.offset.kind / 4;
const RESULT = VALUE + 1;
/** Calls of a thread that were refused, and answers that were not to its question. */
const REFUSED = VALUE + 2;
const WRONG = VALUE + 3;

type Protocol = typeof protocol;

/** Calls `times` times, or until it is refused. */
const client =
  (index: number, times: number, { post, awaitAnswer }: Protocol = protocol): Program =>
  (words, done) => {
    const at = mailboxAt(index);
    words.store(at + VALUE, 10 * index + done);
    if (!awaitAnswer(words, at, post(words, at))) {
      words.store(at + REFUSED, 1);
      return END;
    }
    if (words.load(at + RESULT) !== 10 * index + done + 5) words.store(at + WRONG, 1);
    return done + 1 === times ? END : done + 1;
  };

/** Serves until it has answered `wanted` calls, or is closed. What it remembers: a digit for each mailbox. */
const server =
  (mailboxes: number, wanted: number, { answer, arm }: Protocol = protocol): Program =>
  (words, memory) => {
    const answered = (index: number): number => Math.floor(memory / 10 ** index) % 10;
    const isPosted = (index: number): boolean => words.load(mailboxAt(index) + REQUEST) !== answered(index);
    const all = [...Array(mailboxes).keys()];
    if (words.load(SHUT) !== 0) return END;
    for (const index of all) {
      const at = mailboxAt(index);
      const number = words.load(at + REQUEST);
      if (number === answered(index)) continue;
      words.store(at + RESULT, words.load(at + VALUE) + 5);
      answer(words, at, answered(index), number);
      const next = memory + (number - answered(index)) * 10 ** index;
      return all.reduce((sum, i) => sum + (Math.floor(next / 10 ** i) % 10), 0) === wanted ? END : next;
    }
    if (arm(words, () => words.load(SHUT) !== 0 || all.some(isPosted))) words.sleep(ARMED, 1, FOREVER);
    return memory;
  };
const closer =
  (mailboxes: number, { close }: Protocol = protocol): Program =>
  (words) => {
    close(words, mailboxes);
    return END;
  };

const check = (programs: Program[], mailboxes: number) =>
  explore(programs, {
    plain: (word) => [...Array(mailboxes).keys()].some((i) => word >= mailboxAt(i) + VALUE && word < mailboxAt(i + 1)),
    invariant: (load) => [...Array(mailboxes).keys()].some((i) => load(mailboxAt(i) + WRONG)) && 'a wrong answer',
    outcome: (load) => [...Array(mailboxes).keys()].map((i) => (load(mailboxAt(i) + REFUSED) ? 'refused' : 'answered')).join(),
  });

describe('in every order of their operations', () => {
  const cases: [name: string, programs: Program[], mailboxes: number, outcomes: string[]][] = [
    ['each call is answered', [client(0, 3), server(1, 3)], 1, ['answered']],
    ['the calls of two threads are answered', [client(0, 1), client(1, 2), server(2, 3)], 2, ['answered,answered']],
    ['closing releases the caller and the server', [client(0, 2), server(1, 9), closer(1)], 1, ['answered', 'refused']],
    [
      'closing releases two callers',
      [client(0, 1), client(1, 1), server(2, 9), closer(2)],
      2,
      ['answered,answered', 'answered,refused', 'refused,answered', 'refused,refused'],
    ],
    ['calls after the closing are refused', [closer(1), client(0, 1)], 1, ['refused']],
  ];
  for (const [name, programs, mailboxes, outcomes] of cases)
    it(name, () => {
      const verdict = check(programs, mailboxes);
      expect([...verdict.stuck, ...verdict.broken]).toEqual([]);
      expect([...verdict.outcomes].sort()).toEqual(outcomes);
    });
});

describe('the search finds what is wrong', () => {
  const changed = (words: Words, changes: Partial<Words>): Words => ({ ...words, ...changes });
  const withoutSecondLook: Protocol = { ...protocol, arm: (words) => protocol.arm(words, () => false) };
  const lookingBeforeArming: Protocol = {
    ...protocol,
    arm: (words, isSomething) => !isSomething() && protocol.arm(words, () => false),
  };
  const silentCaller: Protocol = {
    ...protocol,
    awaitAnswer: (words, at, number) =>
      protocol.awaitAnswer(
        changed(words, { store: (word, value) => word !== at + WAITING && words.store(word, value) }),
        at,
        number,
      ),
  };
  const lookingForSleepersFirst: Protocol = {
    ...protocol,
    answer: (words, at, answered, number) => {
      const waiting = words.load(at + WAITING);
      protocol.answer(changed(words, { load: () => waiting }), at, answered, number);
    },
  };
  const reopening: Protocol = {
    ...protocol,
    answer: (words, at, _, number) => {
      words.store(at + RESPONSE, number);
      if (words.load(at + WAITING) === 1) words.wake(at + RESPONSE);
    },
  };
  const closingSilently: Protocol = {
    ...protocol,
    close: (words) => {
      words.store(mailboxAt(0) + RESPONSE, CLOSED);
      words.wake(mailboxAt(0) + RESPONSE);
      words.store(SHUT, 1);
    },
  };
  const postingEarly: Protocol = {
    ...protocol,
    post: (words, at) => {
      const number = words.load(at + REQUEST) + 1;
      if (words.load(ARMED) === 1 && words.exchange(ARMED, 0) === 1) words.wake(ARMED);
      words.store(at + REQUEST, number);
      return number;
    },
  };
  const cases: [name: string, wrong: Protocol, calls: number][] = [
    ['a server that does not look again', withoutSecondLook, 1],
    ['a server that looks again before it arms', lookingBeforeArming, 1],
    ['a caller that does not say that it sleeps', silentCaller, 1],
    ['a server that looks for sleepers before it answers', lookingForSleepersFirst, 1],
    ['a caller that rings before it has posted', postingEarly, 1],
    ['an answer that undoes the closing', reopening, 2],
    ['a closing that does not wake the server', closingSilently, 1],
  ];
  for (const [name, wrong, calls] of cases)
    it(name, () => {
      const programs = [client(0, calls, wrong), server(1, 9, wrong), closer(1, wrong)];
      const patient = [client(0, calls, wrong), server(1, calls, wrong)];
      expect(check(programs, 1).stuck.size + check(patient, 1).stuck.size).toBeGreaterThan(0);
    });
});
