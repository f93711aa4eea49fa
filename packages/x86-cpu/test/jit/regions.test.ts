/** What becomes one region: the loops that a program spends its time in, whole. */
import { linkModules } from '@tsvisor/wasm-codegen';
import { describe, expect, it } from 'vitest';
import type { CompileJob } from '../../src/jit/job.ts';
import { type BlockRuns, type KeptRegion, RUNS_BEFORE } from '../../src/jit/kept.ts';
import { RegionPool } from '../../src/jit/region-pool.ts';
import { type Compile, type CompileService, compileHere, createCompiler, type OfferedBlocks } from '../../src/jit/service.ts';
import { hex, LongModeMachine, Place } from '../system/long-mode.ts';

const ROUNDS = 10_000;

/** Counts to `ROUNDS` over a page's end, which lies in the middle of LEA. */
const OVER_THE_END = `
  b9 10 27 00 00          # mov ecx, 10000
  48 8d 40 01             # again: lea rax, [rax+1]
  48 8d 5b 02             # lea rbx, [rbx+2]
  ff c9                   # dec ecx
  75 f4                   # jnz again
  f4`;
const TO_THE_END = 11;

/** Runs it again from its start, where its second page is `other` now: the same instructions, but for LEA's last byte. */
function runWithOtherPage(machine: LongModeMachine, start: number, other: number): void {
  machine.write(other, hex(OVER_THE_END).slice(TO_THE_END));
  machine.write(other + 1, [0x05]);
  machine.setPte(start + TO_THE_END, BigInt(other) | 3n);
  machine.processor.context.flushTlb();
  machine.state.gpr.fill(0n, 0, 4);
  machine.state.rip = BigInt(start);
  machine.state.halted = 0;
  expect(machine.run()).toBe('halt');
  expect(machine.gpr(3)).toBe(BigInt(5 * ROUNDS));
}

describe('regions', () => {
  it('go on through an instruction that ends in the next page', () => {
    const machine = new LongModeMachine({ heat: 50 });
    machine.load(OVER_THE_END, Place.code + 0x1000 - TO_THE_END);
    expect(machine.run()).toBe('halt');
    expect([machine.gpr(0), machine.gpr(3)]).toEqual([BigInt(ROUNDS), BigInt(2 * ROUNDS)]);
    const { compiled, instructions } = machine.processor.stats();
    expect(compiled / instructions).toBeGreaterThan(0.95);
  });

  it('do not run such an instruction once its second page is another', () => {
    const machine = new LongModeMachine({ heat: 50 });
    const start = Place.code + 0x1000 - TO_THE_END;
    machine.load(OVER_THE_END, start);
    machine.run();
    runWithOtherPage(machine, start, Place.code + 0x3000);
  });

  it('that are not where they were do not keep an endless loop from being left', () => {
    const machine = new LongModeMachine({ heat: 50 });
    const [start, next, other] = [Place.code, Place.code + 0x1000, Place.code + 0x3000];
    machine.load(
      `
      48 ff c0                # again: inc rax
      ff c9                   # dec ecx
      75 f9                   # jnz again
      89 f9                   # mov ecx, edi
      e9 f2 0f 00 00          # jmp next`,
      start,
    );
    const NEXT = 'e9 fb ef ff ff'; // jmp again
    machine.write(next, hex(NEXT));
    machine.state.gpr.set([0n, 4n], 0);
    machine.state.gpr[7] = 4n;
    expect(machine.run(10_000)).toBe('budget');
    expect(machine.processor.stats().regions).toBeGreaterThan(0);
    machine.write(other, hex(NEXT));
    machine.setPte(next, BigInt(other) | 3n);
    machine.processor.context.flushTlb();
    machine.state.gpr[1] = 0n;
    const before = machine.gpr(0);
    expect(machine.run(1000)).toBe('budget');
    expect(Number(machine.gpr(0) - before)).toBeLessThan(1000);
  });

  it('leave what they cannot do to the interpreter, also where a block has had an earlier header', () => {
    const machine = new LongModeMachine({ heat: 24 });
    const start = Place.code;
    const again = start + 0x80;
    const CALLS = 120;
    machine.load('e9 7b 00 00 00', start); // jmp again
    const call = hex('e8 fb ff ff ff'); // again: call again
    machine.write(again, call);
    machine.state.gpr[4] = BigInt(start + 0x3000);
    machine.state.rip = BigInt(again);
    expect(machine.run(5)).toBe('budget');
    // A header that is retired, and then leads to the next one; who jumps to the block by its address still finds the first one.
    machine.write(again, call);
    machine.state.rip = BigInt(start);
    // The stack comes down beside the code: the last of its stores are close to it, and the region leaves them to the interpreter.
    const top = again + 0x30 + 8 * CALLS;
    machine.state.gpr[4] = BigInt(top);
    const before = machine.processor.instructions;
    expect(machine.run(CALLS + 1)).toBe('budget');
    const calls = machine.processor.instructions - before - 1;
    expect(calls).toBeGreaterThanOrEqual(CALLS);
    expect([machine.gpr(4), machine.state.rip]).toEqual([BigInt(top - 8 * calls), BigInt(again)]);
    expect(machine.processor.stats().regions).toBeGreaterThan(0);
  });

  it('hold what got hot while their compiler was busy, and it is asked for one at a time', () => {
    const waiting: { service: CompileService; job: CompileJob; done: Parameters<Compile>[1] }[] = [];
    const machine = new LongModeMachine({
      heat: 50,
      compiler: (service) => ({ compile: (job, done) => void waiting.push({ service, job, done }), dispose: () => undefined }),
    });
    const start = Place.code + 0x1000 - TO_THE_END;
    machine.load(OVER_THE_END, start);
    machine.run(1000);
    expect(waiting.length).toBe(1);
    for (const { service, job, done } of waiting.splice(0)) done(createCompiler(service).run(job));
    expect(machine.run()).toBe('halt');
    expect(waiting.length).toBe(0);
    const { regions, compiled, instructions } = machine.processor.stats();
    expect([regions, compiled / instructions > 0.95]).toEqual([1, true]);
  });

  it('are taken from a pool by whoever comes to the same code, and made anew where it has changed', () => {
    const pool = new RegionPool(1 << 20);
    const machine = new LongModeMachine({ heat: 50, compiler: (service) => compileHere(service, { pool }) });
    const start = Place.code + 0x1000 - TO_THE_END;
    const rounds = (step: number): bigint => {
      // Written again, whatever it was: no translation and no region is left of it.
      machine.write(start, hex(OVER_THE_END));
      machine.write(start + 12, [step]);
      machine.state.gpr.fill(0n, 0, 4);
      machine.state.rip = BigInt(start);
      machine.state.halted = 0;
      expect(machine.run()).toBe('halt');
      return machine.gpr(3);
    };
    machine.load(OVER_THE_END, start);
    const counts = (): number[] => {
      const { regions, regionsShared } = machine.processor.stats();
      return [regions, regionsShared];
    };
    expect(rounds(2)).toBe(BigInt(2 * ROUNDS));
    expect(counts()).toEqual([1, 0]);
    expect(rounds(2)).toBe(BigInt(2 * ROUNDS));
    expect(counts()).toEqual([2, 1]);
    expect(rounds(3)).toBe(BigInt(3 * ROUNDS));
    expect(counts()).toEqual([3, 1]);
  });

  it('are asked for early by whoever hears that another processor has had them made, and not too early', () => {
    const HEAT = 5000;
    /** Rounds of the loop when its region was asked for. */
    const asked: bigint[] = [];
    const jobs: CompileJob[] = [];
    let offer: ((blocks: OfferedBlocks) => void) | undefined;
    const machine = new LongModeMachine({
      heat: HEAT,
      compiler: (service) => {
        const { compile } = compileHere(service);
        return {
          compile: (job, done) => {
            jobs.push(job);
            asked.push(machine.gpr(0));
            compile(job, done);
          },
          onOffer: (fn) => {
            offer = fn;
          },
          dispose: () => undefined,
        };
      },
    });
    const start = Place.code;
    const run = (): void => {
      machine.load(OVER_THE_END, start);
      machine.state.gpr.fill(0n, 0, 4);
      machine.state.halted = 0;
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(3)).toBe(BigInt(2 * ROUNDS));
    };
    run();
    expect(Number(asked[0])).toBeGreaterThan(HEAT - 10);
    const [{ host, key }] = jobs;
    // Before the code is translated again.
    machine.write(start, hex(OVER_THE_END));
    offer?.({ key, entries: [{ host, page: 0 }] });
    run();
    expect(Number(asked[1])).toBeGreaterThan(400);
    expect(Number(asked[1])).toBeLessThan(HEAT / 2);
    // One in another mode is none of ours.
    machine.write(start, hex(OVER_THE_END));
    offer?.({ key: key ^ 4, entries: [{ host, page: 0 }] });
    run();
    expect(Number(asked[2])).toBeGreaterThan(HEAT - 10);
  });

  describe('of an earlier run', () => {
    const HEAT = 5000;
    const kept: KeptRegion[] = [];
    const modules = new Map<KeptRegion, Uint8Array<ArrayBuffer>>();
    const keep = (region: KeptRegion, wasm: Uint8Array<ArrayBuffer>): void => {
      kept.push(region);
      modules.set(region, wasm);
    };
    const before = new LongModeMachine({ heat: HEAT, compiler: (service) => compileHere(service, { keep }) });
    before.load(OVER_THE_END, Place.code + 0x1000 - TO_THE_END);
    before.run();

    /** A machine of another run, which has the code two pages further on, and what it asks of its compiler. */
    function later(regionBytes?: number): { machine: LongModeMachine; jobs: CompileJob[]; start: number } {
      const jobs: CompileJob[] = [];
      const machine = new LongModeMachine({
        heat: HEAT,
        ...(regionBytes !== undefined && { regionBytes }),
        compiler: (service) => {
          const { compile } = compileHere(service);
          return {
            kept: {
              has: (hash) => kept.some(({ entries }) => entries.some((entry) => entry.hash === hash)),
              find: () => kept,
              wasWarm: () => false,
              load: (region) => {
                // As one of several.
                const wasm = modules.get(region) as Uint8Array<ArrayBuffer>;
                return { module: new WebAssembly.Module(linkModules([wasm, wasm])), name: '1' };
              },
            },
            compile: (job, done) => {
              jobs.push(job);
              compile(job, done);
            },
            dispose: () => undefined,
          };
        },
      });
      return { machine, jobs, start: Place.code + 0x3000 - TO_THE_END };
    }

    it('run where the same code is, soon and without a compilation', () => {
      expect(kept.length).toBe(1);
      const { machine, jobs, start } = later();
      machine.load(OVER_THE_END, start);
      expect(machine.run()).toBe('halt');
      expect([machine.gpr(0), machine.gpr(3)]).toEqual([BigInt(ROUNDS), BigInt(2 * ROUNDS)]);
      const { regions, regionsKept, compiled, instructions } = machine.processor.stats();
      expect([regions, regionsKept, jobs.length]).toEqual([1, 1, 0]);
      expect(compiled / instructions).toBeGreaterThan(1 - HEAT / ROUNDS / 2);
    });

    it('do not run where code differs behind the block that is the same: that is compiled', () => {
      const { machine, jobs, start } = later();
      machine.load(OVER_THE_END, start);
      // The step of the second LEA, in the second page: not among the bytes of the entry's hash.
      machine.write(start + TO_THE_END + 1, [0x07]);
      expect(machine.run()).toBe('halt');
      expect(machine.gpr(3)).toBe(BigInt(7 * ROUNDS));
      const { regionsKept } = machine.processor.stats();
      expect([regionsKept, jobs.length]).toEqual([0, 1]);
    });

    it('stay when room is made for others: their module, which more of them have, would stay without them', () => {
      const { machine, start } = later(1);
      const run = (at: number, step: number): void => {
        machine.load(OVER_THE_END, at);
        machine.write(at + TO_THE_END + 1, [step]);
        machine.state.halted = 0;
        expect(machine.run()).toBe('halt');
      };
      run(start, 2);
      // Two more, of which the second is one too many.
      run(start + 0x2000, 7);
      run(start + 0x4000, 8);
      const { regions, regionsKept, regionsEvicted, regionsLive } = machine.processor.stats();
      expect({ regions, regionsKept, regionsEvicted, regionsLive }).toEqual({
        regions: 3,
        regionsKept: 1,
        regionsEvicted: 1,
        regionsLive: 2,
      });
    });

    it('are not missed if they cannot be loaded', () => {
      const jobs: CompileJob[] = [];
      const machine = new LongModeMachine({
        heat: HEAT,
        compiler: (service) => {
          const { compile, dispose } = compileHere(service);
          const asked = (job: CompileJob, done: Parameters<Compile>[1]): void => {
            jobs.push(job);
            compile(job, done);
          };
          const none = { has: () => true, wasWarm: () => false, find: () => kept, load: () => undefined };
          return { kept: none, compile: asked, dispose };
        },
      });
      machine.load(OVER_THE_END, Place.code + 0x3000 - TO_THE_END);
      expect(machine.run()).toBe('halt');
      expect([machine.gpr(3), machine.processor.stats().regionsKept, jobs.length]).toEqual([BigInt(2 * ROUNDS), 0, 1]);
    });

    it('stop where a page of them is another by then', () => {
      const { machine, start } = later();
      machine.load(OVER_THE_END, start);
      machine.run();
      runWithOtherPage(machine, start, Place.code + 0x5000);
    });

    it('do not matter to a run that is to be like the last', () => {
      const machine = new LongModeMachine({
        heat: HEAT,
        reproducible: true,
        compiler: (service) => ({
          ...compileHere(service),
          kept: { has: () => true, wasWarm: () => true, find: () => kept, load: () => expect.fail() },
        }),
      });
      machine.load(OVER_THE_END, Place.code + 0x3000 - TO_THE_END);
      expect(machine.run()).toBe('halt');
      expect(machine.processor.stats().regionsKept).toBe(0);
    });

    it('are made ahead around blocks that ran often in the run before, without being hot in either', () => {
      const made: KeptRegion[] = [];
      const run = (wasWarm: (hash: number) => boolean): { runs: BlockRuns[]; asked: number; regions: number } => {
        const asked: (() => void)[] = [];
        let runner: ReturnType<typeof createCompiler> | undefined;
        const machine = new LongModeMachine({
          heat: 1_000_000,
          compiler: (service) => {
            const compiler = createCompiler(service, { keep: (region) => void made.push(region) });
            runner = compiler;
            return {
              kept: { has: () => false, wasWarm, find: () => [], load: () => expect.fail() },
              compile: () => expect.fail(),
              compileAhead: (job) => void asked.push(compiler.ahead(job)),
              dispose: () => undefined,
            };
          },
        });
        machine.load(OVER_THE_END, Place.code + 0x3000 - TO_THE_END);
        expect(machine.run()).toBe('halt');
        expect(machine.gpr(3)).toBe(BigInt(2 * ROUNDS));
        for (const compile of asked) compile();
        const before = (hash: number): number | undefined => (wasWarm(hash) ? RUNS_BEFORE : undefined);
        const { regions } = machine.processor.stats();
        return { runs: [...(runner?.blockRuns(before) ?? [])], asked: asked.length, regions };
      };
      const { runs, asked } = run(() => false);
      // LEA ends in the next page, where another block begins.
      expect([runs.map((block) => block.runs), asked, made.length]).toEqual([[ROUNDS - 1, ROUNDS], 0, 0]);
      const warm = new Set(runs.map(({ hash }) => hash));
      // Each is asked for once. Both are in what is made around the first, and can be entered there: it is for later runs, and no reason to make more of them.
      expect(run((hash) => warm.has(hash))).toEqual({ runs: [], asked: 2, regions: 0 });
      expect(made.map(({ entries }) => entries.map(({ hash }) => warm.has(hash)))).toEqual([[true, true]]);
    });
  });

  it.each([
    ['are thrown away if memory holds other bytes by then', 1, false, false],
    ['are thrown away if their code is said to change while its pages are being protected', 0, true, false],
    ['are kept if neither is so', 0, false, true],
  ])('%s', (_, byte, written, kept) => {
    /** A page of no code, of which the region is said to be made, too. */
    const DISTANCE = 0x5000;
    const machine = new LongModeMachine({
      heat: 50,
      compiler: (service) => {
        const compiler = createCompiler(service);
        return {
          compile: (job, done) => {
            const compiled = compiler.run(job);
            const elsewhere = { host: job.host - (job.host % 0x1000) + DISTANCE, bytes: Uint8Array.of(byte) };
            done(compiled && { ...compiled, code: [...compiled.code, elsewhere] });
          },
          dispose: () => undefined,
        };
      },
    });
    machine.load(OVER_THE_END, Place.code);
    if (written)
      machine.onProtect = (page) => {
        if (page % 0x1000 === 0 && machine.state.gpr[0] > 0n) machine.processor.codeWritten(page, 1);
      };
    expect(machine.run()).toBe('halt');
    expect(machine.gpr(3)).toBe(BigInt(2 * ROUNDS));
    const { regions, regionsLate } = machine.processor.stats();
    expect([regions > 0, regionsLate > 0]).toEqual([kept, !kept]);
  });
});
