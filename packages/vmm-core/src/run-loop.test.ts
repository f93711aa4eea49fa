import { describe, expect, it } from 'vitest';
import { createMachineClock } from './clock.ts';
import type { VcpuExit } from './exits.ts';
import { RunLoop, type RunnableVm } from './run-loop.ts';
import { createFakeHost } from './testing/fakes.ts';

const END: VcpuExit = { reason: 'system-event', event: 'shutdown' };

/** A guest made of steps: each is one stay in it. The last step repeats. */
function setup(steps: readonly ((budget: number) => VcpuExit)[]) {
  const host = createFakeHost();
  const vm: RunnableVm = { clock: createMachineClock(host), onWake: undefined };
  const log: string[] = [];
  const state = { runnable: false, kicks: 0, budgets: [] as number[] };
  const processor = { instructions: 0 };
  let at = 0;
  const vcpu = {
    processor,
    kick: () => void state.kicks++,
    get runnable() {
      return state.runnable;
    },
    run: (budget: number): VcpuExit => {
      state.budgets.push(budget);
      return steps[Math.min(at++, steps.length - 1)](budget);
    },
  };
  const loop = new RunLoop({ vm, vcpus: [vcpu], host, flush: () => log.push('flush') });
  const work = (ns: number, instructions = ns / 10) => {
    host.now += ns;
    processor.instructions += instructions;
  };
  return { host, vm, state, processor, loop, log, work };
}

describe('the run loop, everything on one thread', () => {
  it.each<VcpuExit>([END, { reason: 'shutdown' }, { reason: 'internal-error', message: 'because' }])(
    'ends with $reason',
    async (end) => {
      expect(await setup([() => end]).loop.run()).toEqual(end);
    },
  );

  it('fires timers between stays in the guest, and makes a stay end at about the next deadline', async () => {
    const fired: number[] = [];
    const steps: (() => VcpuExit)[] = [];
    const t = setup(steps);
    for (let i = 0; i < 200; i++)
      steps.push(() => {
        t.work(100_000, 10_000);
        return { reason: 'intr' };
      });
    steps.push(() => END);
    t.vm.clock.setTimer(15_050_000, () => fired.push(t.vm.clock.monotonicNs()));
    await t.loop.run();
    expect(fired).toEqual([15_100_000]);
    // Ten nanoseconds an instruction: 50 µs ahead of the deadline are 5,000 instructions, otherwise a millisecond's.
    expect(t.state.budgets[150]).toBeLessThan(6_000);
    expect(t.state.budgets[149]).toBeGreaterThan(10_000);
    expect(t.state.budgets[160]).toBeGreaterThan(90_000);
    expect(Math.max(...t.state.budgets.slice(50))).toBeLessThan(110_000);
  });

  it('ends a stay when the guest sets a timer that is due within it', async () => {
    const t = setup([
      () => {
        t.vm.clock.setTimer(5e9, () => undefined);
        expect(t.state.kicks).toBe(0);
        t.vm.clock.setTimer(1000, () => undefined);
        expect(t.state.kicks).toBe(1);
        return END;
      },
    ]);
    await t.loop.run();
  });

  it('lets the event loop have its turn every few milliseconds, with output handed on before', async () => {
    let left = 20;
    const t = setup([
      () => {
        t.work(1e6);
        return left-- > 0 ? { reason: 'intr' } : END;
      },
    ]);
    await t.loop.run();
    expect(t.host.yields).toBeGreaterThanOrEqual(5);
    expect(t.host.yields).toBeLessThanOrEqual(10);
    expect(t.log.length).toBeGreaterThanOrEqual(t.host.yields);
  });

  it('sleeps until the next timer when the guest has halted', async () => {
    let fired = false;
    const t = setup([() => (fired ? END : { reason: 'hlt' })]);
    t.vm.clock.setTimer(250e6, () => {
      fired = true;
    });
    await t.loop.run();
    expect(t.host.sleeps).toEqual([250]);
    expect(t.loop.counters.idleNs).toBe(250e6);
    expect(t.loop.counters.halts).toBe(1);
  });

  it('naps before a timer that is nearer than a millisecond', async () => {
    let fired = false;
    const t = setup([() => (fired ? END : { reason: 'hlt' })]);
    t.vm.clock.setTimer(300_000, () => {
      fired = true;
    });
    const ticking = t.host.yieldToEvents;
    Object.assign(t.host, {
      yieldToEvents: () => {
        t.host.now += 10_000;
        return ticking();
      },
    });
    await t.loop.run();
    expect(t.host.sleeps).toEqual([]);
    expect(t.host.naps[0]).toBeLessThan(300_000);
    expect(t.host.naps[0]).toBeGreaterThan(200_000);
  });

  it('wakes a halted guest at once when a device has something', async () => {
    let woken = false;
    const t = setup([() => (woken ? END : { reason: 'hlt' })]);
    Object.assign(t.host, { setTimeout: () => () => undefined });
    const ended = t.loop.run();
    await Promise.resolve();
    woken = true;
    t.vm.onWake?.();
    expect(await ended).toEqual(END);
  });

  it('goes on at once when a halted guest has an interrupt waiting', async () => {
    const t = setup([
      () => {
        t.processor.instructions++;
        t.state.runnable = true;
        return { reason: 'hlt' };
      },
      () => END,
    ]);
    await t.loop.run();
    expect(t.host.sleeps).toEqual([]);
  });

  it('goes on when an interrupt comes just after a stay that found the guest halted still', async () => {
    const t = setup([
      () => {
        // A deadline passes while the processor looks and finds nothing.
        t.host.now += 10;
        return { reason: 'hlt' };
      },
      () => END,
    ]);
    Object.assign(t.host, { setTimeout: () => () => undefined });
    t.vm.clock.setTimer(5, () => {
      t.state.runnable = true;
    });
    await t.loop.run();
  });

  it('goes on when the answer to its last output comes at once', async () => {
    const t = setup([() => ({ reason: 'hlt' }), () => END]);
    Object.assign(t.host, { setTimeout: () => () => undefined });
    const push = t.log.push.bind(t.log);
    t.log.push = (...items) => {
      t.state.runnable = true;
      return push(...items);
    };
    await t.loop.run();
  });

  it('sleeps when a guest halted with interrupts off, whatever waits', async () => {
    const t = setup([() => ({ reason: 'hlt' })]);
    t.state.runnable = true;
    Object.assign(t.host, { setTimeout: () => () => undefined });
    const ended = t.loop.run();
    await new Promise((resolve) => setImmediate(resolve));
    expect(t.state.budgets.length).toBeLessThan(5);
    t.loop.stop();
    expect(await ended).toEqual({ reason: 'stopped' });
  });

  it('stops a busy guest', async () => {
    const t = setup([
      () => {
        t.work(1e6);
        if (t.vm.clock.monotonicNs() > 20e6) t.loop.stop();
        return { reason: 'intr' };
      },
    ]);
    expect(await t.loop.run()).toEqual({ reason: 'stopped' });
    expect(t.state.kicks).toBe(1);
  });

  it('hands output on when it ends', async () => {
    const t = setup([() => END]);
    await t.loop.run();
    expect(t.log).toEqual(['flush']);
  });
});

describe('the run loop with several vCPUs', () => {
  /** vCPUs whose stays are functions; `order` tells whose turn was when. */
  function several(count: number, stay: (cpu: number, nth: number) => VcpuExit) {
    const host = createFakeHost();
    const vm: RunnableVm = { clock: createMachineClock(host), onWake: undefined };
    const order: number[] = [];
    const runnable = Array.from({ length: count }, () => false);
    const vcpus = runnable.map((_, cpu) => {
      const processor = { instructions: 0 };
      return {
        processor,
        kick: () => undefined,
        get runnable() {
          return runnable[cpu];
        },
        run: () => {
          order.push(cpu);
          host.now += 50_000;
          processor.instructions += 5_000;
          return stay(cpu, order.length);
        },
      };
    });
    return { host, vm, order, runnable, loop: new RunLoop({ vm, vcpus, host, flush: () => undefined }) };
  }

  it('takes them in turn, those that spin too', async () => {
    const t = several(3, (cpu, nth) => (nth === 9 ? END : { reason: cpu === 1 ? 'pause' : 'intr' }));
    expect(await t.loop.run()).toEqual(END);
    expect(t.order).toEqual([1, 2, 0, 1, 2, 0, 1, 2, 0]);
  });

  it('passes over those that have halted until something waits for them', async () => {
    const t = several(3, (cpu, nth) => {
      if (nth === 6) t.runnable[2] = true;
      if (nth === 8) return END;
      return { reason: cpu === 0 ? 'intr' : 'hlt' };
    });
    await t.loop.run();
    expect(t.order).toEqual([1, 2, 0, 0, 0, 0, 2, 0]);
  });

  it('sleeps when all have halted', async () => {
    const t = several(2, (cpu) => (t.runnable[cpu] ? END : { reason: 'hlt' }));
    t.vm.clock.setTimer(20e6, () => {
      t.runnable[1] = true;
    });
    await t.loop.run();
    expect(t.host.sleeps.length).toBe(1);
    expect(t.order.slice(0, 2)).toEqual([1, 0]);
    expect(t.order.at(-1)).toBe(1);
    expect(t.order.length).toBeLessThan(10);
  });
});
