import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { workloadNames } from '../bench-lines.ts';
import type { Contender, Tier } from '../contenders/contender.ts';
import { native } from '../contenders/native.ts';
import { qemu } from '../contenders/qemu.ts';
import { tsvisor } from '../contenders/tsvisor.ts';
import { BenchError } from '../errors.ts';
import { guestFolder, reportedNames } from '../guest-program.ts';
import { describeHost } from '../host.ts';
import { type SuiteReport, suiteReport } from '../suite-report.ts';
import { bestOf, runSuite, type SuiteRun } from '../suite-run.ts';
import { seconds } from '../table.ts';
import { openWorkspace } from '../workspace.ts';
import type { CommandContext, Outcome } from './command.ts';

export type SuiteOptions = {
  readonly scale: number;
  readonly rounds: number;
  readonly tier?: Tier;
  /** Names of workloads; empty: all. */
  readonly only: readonly string[];
};

/** All names, or those asked for in the order in which the guest runs them. */
export function chooseWorkloads(all: readonly string[], only: readonly string[]): string[] {
  const unknown = only.filter((name) => !all.includes(name));
  if (unknown.length > 0)
    throw new BenchError('BENCH_USAGE', `no such workload: ${unknown.join(', ')} (there are ${all.join(', ')})`);
  return only.length === 0 ? [...all] : all.filter((name) => only.includes(name));
}

/** The guest workloads under every contender: the same checksums, and CPU seconds side by side. */
export async function suite(options: SuiteOptions, { progress }: CommandContext): Promise<Outcome> {
  const names = chooseWorkloads(workloadNames(readFileSync(join(guestFolder, 'bench.c'), 'utf8')), options.only);
  const absent = native.missing();
  if (absent !== undefined) return { text: `Guest workloads: skipped, ${absent}`, data: { skipped: absent }, ok: true };

  const workspace = await openWorkspace('workloads', progress);
  const job = { ...workspace.job, workloads: names, scale: options.scale, tier: options.tier ?? 'interp' };
  const contenders = [native, tsvisor, qemu];
  const present = contenders.filter((contender) => contender.missing() === undefined);
  const runs = new Map<Contender, SuiteRun[]>(present.map((contender) => [contender, []]));
  for (let round = 1; round <= options.rounds; round++) {
    for (const contender of present) {
      progress(`round ${round}/${options.rounds}, ${contender.name}`);
      const run = await runSuite(contender, job, (name, { busiest, all, guestCpu }) =>
        progress(`  ${name}: ${contender === native ? seconds(guestCpu) : `${seconds(busiest)} / ${seconds(all)}`}`),
      );
      for (const failure of run.failures) progress(`  ${failure}`);
      runs.get(contender)?.push(run);
    }
  }
  workspace.dispose();

  const of = (contender: Contender): SuiteRun[] => runs.get(contender) ?? [];
  const report: SuiteReport = {
    names: reportedNames(names),
    scale: options.scale,
    rounds: options.rounds,
    kernel: workspace.kernelVersion,
    contenders: [...contenders.map((contender) => contender.missing() ?? contender.describe()), describeHost()],
    native: bestOf(of(native)),
    ours: bestOf(of(tsvisor)),
    theirs: bestOf(of(qemu)),
    peer: runs.has(qemu),
    failures: present.flatMap((contender) => of(contender).flatMap(({ failures }) => failures)),
  };
  return suiteReport(report);
}
