/**
 * Calls from threads that block until one server has answered. Each thread has a mailbox; all of them ring one doorbell, ARMED, which is 1 while
 * the server sleeps on it or is about to. Whoever makes it 0 wakes the server, so that requests that come while it works cost no wake-up.
 *
 * The payload is plain memory: the thread writes it before REQUEST and reads it after RESPONSE, the server in between.
 */
import { array, defineLayout } from '@tsvisor/state-layout';
import { FOREVER, line, type Words } from './words.ts';

/** In front of the mailboxes. */
export const DOORBELL = defineLayout('mailbox doorbell', { armed: line, closed: line }, { size: 128 });

export const MAILBOX = defineLayout(
  'mailbox',
  {
    /** Number of the last request, written by the thread; of the last one answered, written by the server, or CLOSED. */
    request: line,
    response: line,
    /** The thread sleeps on `response` or is about to. */
    waiting: line,
    kind: 'u32',
    length: 'u32',
    address: 'f64',
    valueLo: 'u32',
    valueHi: 'u32',
    resultLo: 'u32',
    resultHi: 'u32',
    rest: array('u32', 8),
  },
  { size: 256 },
);

export const mailboxAt = (index: number): number => (DOORBELL.size + index * MAILBOX.size) / 4;

export const ARMED = DOORBELL.offset.armed / 4;
export const SHUT = DOORBELL.offset.closed / 4;
export const REQUEST = MAILBOX.offset.request / 4;
export const RESPONSE = MAILBOX.offset.response / 4;
export const WAITING = MAILBOX.offset.waiting / 4;

/** The response to all further requests. */
export const CLOSED = -1;

function ring(words: Words): void {
  if (words.load(ARMED) === 1 && words.exchange(ARMED, 0) === 1) words.wake(ARMED);
}

/** Posts the payload; returns the number of the request. */
export function post(words: Words, mailbox: number): number {
  const number = (words.load(mailbox + REQUEST) + 1) & 0x7fff_ffff;
  words.store(mailbox + REQUEST, number);
  ring(words);
  return number;
}

const isAnswer = (response: number, number: number): boolean => response === number || response === CLOSED;

export const isAnswered = (words: Words, mailbox: number, number: number): boolean =>
  isAnswer(words.load(mailbox + RESPONSE), number);

/** Sleeps until the request is answered; false: the mailbox is closed. */
export function awaitAnswer(words: Words, mailbox: number, number: number): boolean {
  let response = words.load(mailbox + RESPONSE);
  if (!isAnswer(response, number)) {
    words.store(mailbox + WAITING, 1);
    while (!isAnswer((response = words.load(mailbox + RESPONSE)), number)) words.sleep(mailbox + RESPONSE, response, FOREVER);
    words.store(mailbox + WAITING, 0);
  }
  return response === number;
}

/** Answers request `number` after `answered`, unless the mailbox was closed meanwhile. */
export function answer(words: Words, mailbox: number, answered: number, number: number): void {
  if (words.compareExchange(mailbox + RESPONSE, answered, number) !== answered) return;
  if (words.load(mailbox + WAITING) === 1) words.wake(mailbox + RESPONSE);
}

/** Whether the server may sleep while ARMED is 1; not if there is something to do. */
export function arm(words: Words, isSomething: () => boolean): boolean {
  words.store(ARMED, 1);
  if (!isSomething()) return true;
  words.store(ARMED, 0);
  return false;
}

/** Whoever waits for an answer, and whoever asks from now on, is told that there is none; the server is woken. Any thread may do it. */
export function close(words: Words, mailboxes: number): void {
  words.store(SHUT, 1);
  for (let i = 0; i < mailboxes; i++) {
    words.store(mailboxAt(i) + RESPONSE, CLOSED);
    words.wake(mailboxAt(i) + RESPONSE);
  }
  ring(words);
}
