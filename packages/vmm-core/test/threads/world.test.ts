import { describe, expect, it } from 'vitest';
import { FOREVER, type Words } from '../../src/threads/words.ts';
import * as protocol from '../../src/threads/world-protocol.ts';
import { EVERYTHING, EXCLUSIVE, HEAD, LOCK, OUTSIDER, stateAt, type World } from '../../src/threads/world-protocol.ts';
import * as generated from './generated-code.ts';
import { END, explore, type Load, type Program } from './model.ts';

/** What each thread shows to the invariant, and what the threads of the test have beside the protocol. */
const SEEN = 10_000;
/** The vCPU executes guest code. */
const guest = (vcpu: number): number => SEEN + 10 * vcpu;
/** It has exclusivity. */
const alone = (vcpu: number): number => SEEN + 10 * vcpu + 1;
/** Bits of the requests that it has applied. */
const applied = (vcpu: number): number => SEEN + 10 * vcpu + 2;
/** What generated code looks at: -1 makes it leave. */
const exitRequest = (vcpu: number): number => SEEN + 10 * vcpu + 3;
/** Bits of the requests whose `broadcast` has returned. */
const DONE = SEEN + 1000;
const STOP = SEEN + 1001;

/** The protocol as one thread uses it; mutants replace some of it. */
type Actions = Pick<typeof protocol, 'enterGuest' | 'leaveGuest' | 'broadcast' | 'enter' | 'leave'> &
  Pick<typeof generated, 'exclusiveEnter' | 'exclusiveLeave' | 'standAside'> & {
    readonly changed: (words: Words) => Words;
  };
const right: Actions = { ...protocol, ...generated, changed: (words) => words };

class Thread {
  readonly #actions: Actions;
  readonly #world: World;
  readonly words: Words;
  readonly #me: number;
  constructor(words: Words, me: number, vcpus: number, actions: Actions, slots: number) {
    this.words = words;
    this.#world = { words: actions.changed(words), vcpus, slots };
    this.#me = me;
    this.#actions = actions;
  }
  readonly #apply: protocol.Apply = (kind, host, length) => {
    // Twice the address is the length of each request: other halves of two would not fit.
    const bits = kind === EVERYTHING ? 0xff : length === 2 * host ? host : 0;
    this.words.store(applied(this.#me), this.words.load(applied(this.#me)) | bits);
  };
  readonly #kick = (vcpu: number): void => {
    this.words.store(exitRequest(vcpu), -1);
    this.words.wake(exitRequest(vcpu));
  };
  enterGuest(): void {
    this.#actions.enterGuest(this.#world, this.#me, this.#apply);
  }
  leaveGuest(): void {
    this.#actions.leaveGuest(this.#world, this.#me);
  }
  broadcast(bit: number): void {
    this.words.store(applied(this.#me), this.words.load(applied(this.#me)) | bit);
    this.#actions.broadcast(this.#world, this.#me, 1, bit, 2 * bit, this.#kick, this.#apply);
    this.words.add(DONE, bit);
  }
  post(bit: number): void {
    protocol.post(this.#world, this.#me, 1, bit, 2 * bit, this.#kick);
  }
  exclusively(action: () => void = () => undefined): void {
    this.#actions.enter(this.#world, this.#me, this.#kick, this.#apply);
    this.words.store(alone(this.#me), 1);
    action();
    this.words.store(alone(this.#me), 0);
    this.#actions.leave(this.#world);
  }
  /** The same from generated code. */
  exclusivelyWithin(action: () => void = () => undefined): void {
    const { enter, leave, exclusiveEnter, exclusiveLeave } = this.#actions;
    if (!exclusiveEnter(this.#world, this.#me, exitRequest, this.#ask)) enter(this.#world, this.#me, this.#ask, this.#apply);
    this.words.store(alone(this.#me), 1);
    action();
    this.words.store(alone(this.#me), 0);
    if (!exclusiveLeave(this.#world, this.#me)) leave(this.#world);
  }
  readonly #ask = (vcpu: number): void => generated.askAside(this.words, exitRequest(vcpu));
  /** At the start of each stay in generated code. */
  serve(): void {
    this.words.store(exitRequest(this.#me), 0);
    if (!protocol.isAsked(this.#world, this.#me)) return;
    this.leaveGuest();
    this.enterGuest();
  }
  standAside(): boolean {
    return this.#actions.standAside(this.#world, this.#me, exitRequest, this.#apply);
  }
  execute(): void {
    this.words.store(guest(this.#me), 1);
    this.words.store(guest(this.#me), 0);
  }
  /** Guest code that goes on until somebody wants something. */
  executeUntilKicked(): void {
    this.words.store(guest(this.#me), 1);
    while (this.words.load(exitRequest(this.#me)) === 0) this.words.sleep(exitRequest(this.#me), 0, FOREVER);
    this.words.store(guest(this.#me), 0);
  }
  kick(vcpu: number): void {
    this.#kick(vcpu);
  }
}

type Act = (thread: Thread, turn: number) => boolean;
/** A thread that takes turns until `act` says that it is the last. */
type Actor = (vcpus: number, actions: Actions, slots: number) => Program;
const actor =
  (me: number, act: Act): Actor =>
  (vcpus, actions, slots) =>
  (words, turn) =>
    act(new Thread(words, me, vcpus, actions, slots), turn) ? END : turn + 1;

/** Enters, executes and leaves, so many times. */
const visitor = (me: number, times = 1): Actor =>
  actor(me, (thread, turn) => {
    thread.enterGuest();
    thread.execute();
    thread.leaveGuest();
    return turn + 1 === times;
  });
/** Executes until it is kicked, and again until all is over. */
const runner = (me: number): Actor =>
  actor(me, (thread) => {
    thread.words.store(exitRequest(me), 0);
    thread.enterGuest();
    // An end that was asked for after the flag was cleared is seen by the kick, and before by this.
    if (thread.words.load(STOP) === 0) thread.executeUntilKicked();
    thread.leaveGuest();
    return thread.words.load(STOP) !== 0;
  });
/** The same in generated code, which stands aside by itself. */
const resident = (me: number): Actor =>
  actor(me, (thread) => {
    thread.enterGuest();
    for (;;) {
      thread.serve();
      if (thread.words.load(STOP) !== 0) break;
      do thread.executeUntilKicked();
      while (thread.standAside());
    }
    thread.leaveGuest();
    return true;
  });
/** The same for one request. */
const aside = (me: number): Actor =>
  actor(me, (thread) => {
    thread.enterGuest();
    thread.executeUntilKicked();
    if (thread.standAside()) thread.execute();
    thread.leaveGuest();
    return true;
  });
const end = (thread: Thread, runners: readonly number[]): void => {
  if (runners.length > 0) thread.words.store(STOP, 1);
  for (const vcpu of runners) thread.kick(vcpu);
};
/** Does something within an instruction of the guest's, then ends the runners. */
const within = (me: number, act: (thread: Thread) => void, stops: readonly number[] = []): Actor =>
  actor(me, (thread) => {
    thread.enterGuest();
    act(thread);
    thread.execute();
    thread.leaveGuest();
    end(thread, stops);
    return true;
  });
const outside = (me: number, act: (thread: Thread) => void, stops: readonly number[] = []): Actor =>
  actor(me, (thread) => {
    act(thread);
    end(thread, stops);
    return true;
  });
/** Executes until it has applied request 1. */
const runnerUntilApplied = (me: number): Actor =>
  actor(me, (thread) => {
    thread.words.store(exitRequest(me), 0);
    thread.enterGuest();
    const done = thread.words.load(applied(me)) === 1;
    if (!done) thread.executeUntilKicked();
    thread.leaveGuest();
    return done;
  });
/** A thread without a vCPU asks for so many things, one after the other. */
const many = (times: number): Actor =>
  actor(OUTSIDER, (thread, turn) => {
    thread.broadcast(1 << turn);
    return turn + 1 === times;
  });
const exclusive = (thread: Thread): void => thread.exclusively();
const exclusiveWithin = (thread: Thread): void => thread.exclusivelyWithin();
const twice = (thread: Thread): void => {
  thread.exclusivelyWithin();
  thread.exclusivelyWithin();
};
const posting = (thread: Thread): void => thread.post(1);
const broadcasting =
  (bit: number) =>
  (thread: Thread): void =>
    thread.broadcast(bit);

type Options = {
  readonly slots: number;
  readonly actions: Actions;
  readonly vcpus: number;
  /** Nothing comes between writing or reading an entry of the log: right as long as the log does not wrap around. */
  readonly plain: boolean;
};

function check(
  actors: readonly Actor[],
  { slots = 8, actions = right, vcpus = actors.length, plain = true }: Partial<Options> = {},
) {
  const ids = [...Array(vcpus).keys()];
  const invariant = (load: Load): string | undefined => {
    for (const i of [...ids, OUTSIDER]) {
      if (load(alone(i)) === 0) continue;
      if (ids.some((j) => j !== i && load(guest(j)) !== 0)) return 'guest code runs during exclusivity';
      if ([...ids, OUTSIDER].some((j) => j !== i && load(alone(j)) !== 0)) return 'two are exclusive';
    }
    const stale = ids.some((i) => load(guest(i)) !== 0 && (load(DONE) & ~load(applied(i))) !== 0);
    return stale ? 'guest code runs without a request that was done' : undefined;
  };
  const isLog = (word: number): boolean => word >= stateAt(vcpus) && word < SEEN - 10;
  const isApplied = (word: number): boolean => word >= SEEN - 10 && word < DONE && word % 10 === 2;
  return explore(
    actors.map((make) => make(vcpus, actions, slots)),
    {
      invariant,
      plain: (word) => isApplied(word) || (plain && isLog(word)),
      outcome: (load) => (load(EXCLUSIVE) === 0 && load(LOCK) === 0 ? 'free' : 'taken'),
    },
  );
}

/** Its thread ends at its operation number `last`, wherever that is; another one says so. */
class Death extends Error {}
const DEAD = SEEN + 1002;
const dying =
  (me: number, act: (thread: Thread) => void, last: number): Actor =>
  (vcpus, actions, slots) =>
  (words) => {
    let left = last;
    const mortal = <A extends unknown[], R>(operation: (...args: A) => R): ((...args: A) => R) => {
      return (...args) => {
        if (left-- === 0) throw new Death();
        return operation(...args);
      };
    };
    const { load, store, add, exchange, compareExchange, wake, sleep } = words;
    const changed = (): Words => ({
      load: mortal(load),
      store: mortal(store),
      add: mortal(add),
      exchange: mortal(exchange),
      compareExchange: mortal(compareExchange),
      wake: mortal(wake),
      sleep: mortal(sleep),
    });
    try {
      act(new Thread(words, me, vcpus, { ...actions, changed }, slots));
    } catch (error) {
      if (!(error instanceof Death)) throw error;
    }
    words.store(DEAD, 1);
    words.wake(DEAD);
    return END;
  };
const undertaker =
  (dead: number): Actor =>
  (vcpus, _, slots) =>
  (words) => {
    while (words.load(DEAD) === 0) words.sleep(DEAD, 0, FOREVER);
    protocol.retire({ words, vcpus, slots }, dead);
    return END;
  };

type Case = [name: string, actors: Actor[], options?: Partial<Options>];

describe('in every order of their operations', () => {
  const cases: Case[] = [
    ['one is exclusive while another comes and goes', [within(0, exclusive), visitor(1, 2)]],
    ['one that is outside is exclusive as well', [outside(0, exclusive), visitor(1, 2)]],
    ['one that runs on is made to stop', [within(0, exclusive, [1]), runner(1)]],
    ['two want to be exclusive', [within(0, exclusive), within(1, exclusive)]],
    ['two that are outside want to be exclusive, and a third comes', [outside(0, exclusive), outside(1, exclusive), visitor(2)]],
    ['a thread without a vCPU wants to be, too', [outside(OUTSIDER, exclusive), within(0, exclusive)], { vcpus: 1 }],
    ['a request reaches one that comes and goes', [within(0, broadcasting(1)), visitor(1, 2)]],
    ['a request reaches one that runs on', [within(0, broadcasting(1), [1]), runner(1)]],
    ['a request reaches one that runs on and one that comes', [outside(0, broadcasting(1), [1]), runner(1), visitor(2)]],
    ['two requests meet', [within(0, broadcasting(1)), within(1, broadcasting(2))]],
    ['two requests reach one that comes', [outside(0, broadcasting(1)), outside(1, broadcasting(2)), visitor(2)]],
    ['a request meets exclusivity', [within(0, broadcasting(1)), within(1, exclusive)]],
    [
      'a request within exclusivity',
      [within(0, (thread) => thread.exclusively(() => thread.broadcast(1))), within(1, exclusive)],
    ],
    ['a request that nobody waits for', [outside(OUTSIDER, posting), runnerUntilApplied(0)], { vcpus: 1 }],
    ['generated code is exclusive while another comes and goes', [within(0, exclusiveWithin), visitor(1, 2)]],
    ['generated code makes one stop that runs on', [within(0, exclusiveWithin, [1]), runner(1)]],
    ['generated code makes other generated code stand aside', [within(0, exclusiveWithin, [1]), resident(1)]],
    ['generated code stands aside for one that is outside', [outside(0, exclusive, [1]), resident(1)]],
    ['generated code of two wants to be exclusive', [within(0, exclusiveWithin), within(1, exclusiveWithin)]],
    [
      'generated code wants to be, and one outside, and a third comes',
      [within(0, exclusiveWithin), outside(1, exclusive), visitor(2)],
    ],
    ['generated code stands aside when somebody is exclusive twice', [outside(0, twice, [1]), aside(1)]],
    ['generated code wants to be when a request is made', [within(0, exclusiveWithin), within(1, broadcasting(1))]],
    ['a request reaches generated code', [within(0, broadcasting(1), [1]), resident(1)]],
    [
      'a request within exclusivity of generated code reaches other generated code',
      [within(0, (thread) => thread.exclusivelyWithin(() => thread.broadcast(1)), [1]), resident(1)],
    ],
    ['more requests than the log keeps', [many(3), visitor(0, 2)], { slots: 2, vcpus: 1, plain: false }],
  ];
  for (const [name, actors, options] of cases)
    it(name, () => {
      const verdict = check(actors, options);
      expect([...verdict.stuck, ...verdict.broken]).toEqual([]);
      expect([...verdict.outcomes]).toEqual(['free']);
    });

  for (const [name, act] of [
    ['exclusive', exclusive],
    ['asking', broadcasting(2)],
    ['exclusive in generated code', exclusiveWithin],
  ] as const)
    it(`one whose thread ends while it is ${name} holds up nobody`, () => {
      const life = (thread: Thread): void => {
        thread.enterGuest();
        act(thread);
      };
      for (let last = 0; last < 40; last++) {
        const verdict = check([dying(0, life, last), outside(1, broadcasting(1)), undertaker(0)], { vcpus: 2 });
        expect([last, ...verdict.stuck]).toEqual([last]);
        const alone = check([dying(0, life, last), outside(1, exclusive), undertaker(0)], { vcpus: 2 });
        expect([last, ...alone.stuck]).toEqual([last]);
        expect([...alone.outcomes]).toEqual(['free']);
      }
    });
});

describe('the search finds what is wrong', () => {
  const withWords = (world: World, changes: (words: Words) => Partial<Words>): World => ({
    ...world,
    words: { ...world.words, ...changes(world.words) },
  });
  const enteringLate: Actions = {
    ...right,
    enterGuest: (world, me, apply) => {
      let state = world.words.load(stateAt(me));
      const changes = (words: Words): Partial<Words> => ({
        load: (word) => (word === stateAt(me) ? state : words.load(word)),
        exchange: (word, value) => (word === stateAt(me) ? (state = value) & 0 : words.exchange(word, value)),
      });
      protocol.enterGuest(withWords(world, changes), me, apply);
      world.words.store(stateAt(me), state);
    },
  };
  const waitingInside: Actions = {
    ...right,
    broadcast: (world, me, kind, host, length, kick, apply) => {
      const changes = (words: Words): Partial<Words> => ({
        load: (word) => (word === stateAt(me) ? words.load(word) & ~1 : words.load(word)),
      });
      return protocol.broadcast(withWords(world, changes), me, kind, host, length, kick, apply);
    },
  };
  const lookingBeforeAsking: Actions = {
    ...right,
    enter: (world, me, kick, apply) => {
      const out = [0, 1].map(stateAt).filter((word) => (world.words.load(word) & 1) === 0);
      const changes = (words: Words): Partial<Words> => ({ load: (word) => (out.includes(word) ? 0 : words.load(word)) });
      protocol.enter(withWords(world, changes), me, kick, apply);
    },
  };
  const notKicking: Actions = {
    ...right,
    enter: (world, me, _, apply) => protocol.enter(world, me, () => undefined, apply),
  };
  const notWaking = (asleep: (word: number) => boolean): Actions => ({
    ...right,
    changed: (words) => ({ ...words, wake: (word) => (asleep(word) ? undefined : words.wake(word)) }),
  });
  const counting: Actions = {
    ...right,
    broadcast: (world, me, kind, host, length, kick, apply) => {
      let counted = false;
      const changes = (words: Words): Partial<Words> => ({
        store: (word, value) => {
          if (!counted) words.store(HEAD, words.load(HEAD) + 1);
          counted = true;
          if (word !== HEAD) words.store(word, value);
        },
      });
      return protocol.broadcast(withWords(world, changes), me, kind, host, length, kick, apply);
    },
  };
  const trusting: Actions = {
    ...right,
    enterGuest: (world, me, apply) => {
      let head = 0;
      let read = false;
      const changes = (words: Words): Partial<Words> => ({
        load: (word) => {
          if (word === HEAD) {
            if (!read) head = words.load(HEAD);
            read = false;
            return head;
          }
          read = word > stateAt(0);
          return words.load(word);
        },
      });
      protocol.enterGuest(withWords(world, changes), me, apply);
    },
  };
  const goingOnUnseen: Actions = {
    ...right,
    standAside: (world, me, exitRequests, apply) => {
      let inside = false;
      const changes = (words: Words): Partial<Words> => ({
        load: (word) => (inside && word === EXCLUSIVE ? 0 : words.load(word)),
        exchange: (word, value) => {
          inside = (value & 1) !== 0;
          return words.exchange(word, value);
        },
      });
      return generated.standAside(withWords(world, changes), me, exitRequests, apply);
    },
  };
  const takingAnyRequest: Actions = {
    ...right,
    standAside: (world, me, exitRequests, apply) => {
      const changes = (words: Words): Partial<Words> => ({
        compareExchange: (word, expected, value) => {
          if (word !== exitRequests(me)) return words.compareExchange(word, expected, value);
          words.exchange(word, value);
          return expected;
        },
      });
      return generated.standAside(withWords(world, changes), me, exitRequests, apply);
    },
  };
  const cases: [name: string, actors: Actor[], actions: Actions, options?: Partial<Options>][] = [
    ['going inside after the last look', [outside(0, exclusive), visitor(1)], enteringLate],
    ['going inside after the last look, with a request', [outside(0, broadcasting(1)), visitor(1)], enteringLate],
    ['looking at the others before asking', [outside(0, exclusive), visitor(1)], lookingBeforeAsking],
    ['waiting inside', [within(0, broadcasting(1)), within(1, broadcasting(2))], waitingInside],
    ['asking without a kick', [within(0, exclusive, [1]), runner(1)], notKicking],
    ['leaving without a wake', [outside(0, exclusive), visitor(1)], notWaking((word) => word >= stateAt(0))],
    ['ending exclusivity without a wake', [outside(0, exclusive), visitor(1)], notWaking((word) => word === EXCLUSIVE)],
    ['unlocking without a wake', [outside(0, broadcasting(1)), outside(1, broadcasting(2))], notWaking((word) => word === LOCK)],
    ['counting a request before it is written', [outside(0, broadcasting(1)), visitor(1)], counting, { plain: false }],
    ['generated code that goes on without a last look', [outside(0, twice, [1]), aside(1)], goingOnUnseen],
    [
      'generated code that takes any request for the one it knows',
      [within(0, exclusiveWithin, [1]), resident(1)],
      takingAnyRequest,
    ],
    ['trusting what is read from the log', [many(3), visitor(0)], trusting, { slots: 2, vcpus: 1, plain: false }],
  ];
  for (const [name, actors, actions, options] of cases)
    it(name, () => {
      const verdict = check(actors, { ...options, actions });
      expect(verdict.stuck.size + verdict.broken.size).toBeGreaterThan(0);
    });
});
