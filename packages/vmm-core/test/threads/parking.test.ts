import { describe, expect, it } from 'vitest';
import { kick, PARKED, PARKING, park, SIGNAL } from '../../src/threads/parking.ts';
import { FOREVER, type Words } from '../../src/threads/words.ts';
import { END, explore, type Program } from './model.ts';

/** What senders have for the sleeper: a counter beside the parking words. */
const COUNT = PARKING.size / 4;

type Kick = typeof kick;
type Park = typeof park;

const sender =
  (times: number, kicks: Kick = kick): Program =>
  (words, sent) => {
    words.add(COUNT, 1);
    kicks(words);
    return sent + 1 === times ? END : sent + 1;
  };
/** Parks until it has taken `wanted`. */
const sleeper =
  (wanted: number, parks: Park = park, ms = FOREVER): Program =>
  (words, taken) => {
    parks(words, () => words.load(COUNT) !== 0, ms);
    const now = taken + words.exchange(COUNT, 0);
    return now === wanted ? END : now;
  };
const stopper: Program = (words) => {
  kick(words);
  return END;
};

describe('in every order of their operations', () => {
  const cases: [name: string, programs: Program[]][] = [
    ['a kick reaches the sleeper', [sender(1), sleeper(1)]],
    ['all kicks of one reach the sleeper', [sender(3), sleeper(3)]],
    ['the kicks of two reach the sleeper', [sender(2), sender(1), sleeper(3)]],
    ['the kicks of two reach a sleeper with a timeout', [sender(1), sender(1), sleeper(2, park, 1)]],
    ['a kick without anything to see does no harm', [sender(2), stopper, sleeper(2)]],
  ];
  for (const [name, programs] of cases)
    it(name, () => {
      const verdict = explore(programs, { outcome: (load) => `${load(COUNT)} ${load(PARKED)}` });
      expect([...verdict.stuck]).toEqual([]);
      expect([...verdict.outcomes]).toEqual(['0 0']);
    });

  it('a kick during the call ends it, whatever `ready` says', () => {
    const began = COUNT + 1;
    const kicker: Program = (words) => {
      while (words.load(began) === 0) words.sleep(began, 0, FOREVER);
      kick(words);
      return END;
    };
    const deaf: Program = (words) => {
      let asked = false;
      const ready = (): boolean => {
        if (!asked) {
          words.store(began, 1);
          words.wake(began);
        }
        asked = true;
        return false;
      };
      park(words, ready, FOREVER);
      return END;
    };
    expect([...explore([kicker, deaf]).stuck]).toEqual([]);
  });
});

describe('the search finds what is wrong', () => {
  const withoutSecondLook: Park = (words, ready, ms) => {
    if (ready()) return;
    words.store(PARKED, 1);
    words.sleep(PARKED, 1, ms);
    words.store(PARKED, 0);
  };
  const flagAfterLook: Park = (words, ready, ms) => {
    const seen = words.load(SIGNAL);
    if (ready() || words.load(SIGNAL) !== seen) return;
    words.store(PARKED, 1);
    words.sleep(PARKED, 1, ms);
    words.store(PARKED, 0);
  };
  const countingLate: Park = (words, ready, ms) => {
    if (ready()) return;
    park(words, () => false, ms);
  };
  const sleepingOnSignal: Park = (words, ready, ms) => {
    const seen = words.load(SIGNAL);
    if (ready()) return;
    words.store(PARKED, 1);
    words.sleep(SIGNAL, seen, ms);
    words.store(PARKED, 0);
  };
  const wakingSignal: Kick = (words) => {
    words.add(SIGNAL, 1);
    if (words.load(PARKED) === 1 && words.exchange(PARKED, 0) === 1) words.wake(SIGNAL);
  };
  const kickingFirst: Program = (words: Words) => {
    kick(words);
    words.add(COUNT, 1);
    return END;
  };
  const withoutClaim: Kick = (words) => {
    words.add(SIGNAL, 1);
    if (words.load(PARKED) === 1) words.wake(PARKED);
  };
  const cases: [name: string, programs: Program[]][] = [
    ['a sleeper that does not look again', [sender(1), sleeper(1, withoutSecondLook)]],
    ['a sleeper that looks again before it says so', [sender(1), sleeper(1, flagAfterLook)]],
    ['a sleeper that looks for bits before it looks at the signal', [sender(1), sleeper(1, countingLate)]],
    ['sleeping on the signal, with a claim', [sender(2, wakingSignal), sender(1, wakingSignal), sleeper(3, sleepingOnSignal)]],
    ['kicking before there is something to see', [kickingFirst, sleeper(1)]],
    ['waking without a claim, between the last look and the sleep', [sender(1, withoutClaim), sleeper(1)]],
  ];
  for (const [name, programs] of cases)
    it(name, () => {
      expect(explore(programs).stuck.size).toBeGreaterThan(0);
    });
});
