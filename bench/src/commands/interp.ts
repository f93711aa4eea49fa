import { readFileSync } from 'node:fs';
import { microvm } from '@tsvisor/machines';
import { parseBenchLine } from '../bench-lines.ts';
import { CONSOLE, guestParameters, type Job } from '../contenders/contender.ts';
import { nativeOf } from '../contenders/native.ts';
import { qemuOf } from '../contenders/qemu.ts';
import { tsvisor } from '../contenders/tsvisor.ts';
import { readCpuTimes } from '../cpu-time.ts';
import { BenchError } from '../errors.ts';
import { LineSplitter } from '../lines.ts';
import { runSuite, type WorkloadResult } from '../suite-run.ts';
import { seconds, table } from '../table.ts';
import { openWorkspace } from '../workspace.ts';
import { type CommandContext, type Outcome, verdict } from './command.ts';

/** Least allowed guest instructions per microsecond of the emulating thread. */
const LIMIT = 300;
const WORKLOAD = 'crc32';
/** Seconds; far more than the slowest acceptable run takes. */
const TIMEOUT = 300;

export type InterpOptions = { readonly scale: number };

/** Guest instructions, and CPU seconds of the thread that runs them, between the workload's first and last lines. */
export type InterpResult = { readonly instructions: number; readonly cpu: number; readonly checksum: string };

type Reading = { readonly instructions: number; readonly cpu: number };

/**
 * Runs the workload on a machine in this process, where the processor's count of instructions can be read at any time. The machine
 * hands its console on at most 3 ms late, which is what the two readings may be off.
 */
async function measureInstructions(job: Job): Promise<InterpResult> {
  let begin: Reading | undefined;
  let result: InterpResult | undefined;
  const read = (): Reading => ({
    instructions: Number(machine.stats()['guest.instructions']),
    cpu: readCpuTimes(process.pid).get(process.pid) ?? Number.NaN,
  });
  const console = new LineSplitter((text) => {
    const line = parseBenchLine(text);
    if (line?.kind === 'start') begin = read();
    if (line?.kind === 'bench' && begin !== undefined) {
      const end = read();
      result = { instructions: end.instructions - begin.instructions, cpu: end.cpu - begin.cpu, checksum: line.checksum };
      machine.stop();
    }
  });
  const machine = await microvm.create({
    memoryBytes: job.memoryMiB * 2 ** 20,
    cpuModel: 'max',
    tier: 'interp',
    kernel: readFileSync(job.kernel),
    initrd: readFileSync(job.initramfs),
    cmdline: `${CONSOLE} ${guestParameters(job)}`,
    serial: [{ write: (bytes) => console.push(bytes) }],
  });
  const timer = setTimeout(() => machine.stop(), TIMEOUT * 1000);
  try {
    const exit = await machine.start();
    if (result === undefined)
      throw new BenchError('BENCH_GUEST', `${WORKLOAD} did not come to its end: ${exit.reason} ${exit.message ?? ''}`.trim());
    return result;
  } finally {
    clearTimeout(timer);
    machine.dispose();
  }
}

/** Guest instructions per second on crc32, a loop of loads, shifts and a table: what an interpreter does all day. */
export async function interp({ scale }: InterpOptions, { progress }: CommandContext): Promise<Outcome> {
  const [native, qemu] = [nativeOf(64), qemuOf(64)];
  const absent = native.missing();
  if (absent !== undefined) return { text: `Interpreter: skipped, ${absent}`, data: { skipped: absent }, ok: true };
  const workspace = await openWorkspace(64, 'workloads', progress);
  const job = { ...workspace.job, workloads: [WORKLOAD], scale };
  const others = new Map<string, WorkloadResult | undefined>();
  for (const contender of [native, qemu]) {
    if (contender.missing() !== undefined) continue;
    progress(contender.name);
    const { results, failures } = await runSuite(contender, job, () => undefined);
    for (const failure of failures) progress(failure);
    others.set(contender.name, results.get(WORKLOAD));
  }
  progress(tsvisor.name);
  const ours = await measureInstructions(job);
  workspace.dispose();

  const mips = ours.instructions / ours.cpu / 1e6;
  const reference = others.get(native.name)?.checksum;
  const right = ours.checksum === reference;
  const held = mips >= LIMIT;
  const row = (name: string, cpu: number | undefined): string[] => [
    name,
    seconds(cpu),
    cpu === undefined || cpu === 0 ? '–' : (ours.instructions / cpu / 1e6).toFixed(0),
  ];
  const rows = [row(native.name, others.get(native.name)?.guestCpu), row(tsvisor.name, ours.cpu)];
  if (others.has(qemu.name)) rows.push(row(qemu.name, others.get(qemu.name)?.busiest));
  const text = [
    `Interpreter: ${WORKLOAD}, scale ${scale}, ${workspace.kernelVersion}, ${(ours.instructions / 1e6).toFixed(0)} million guest instructions`,
    ...[tsvisor, qemu].map((contender) => `  ${contender.missing() ?? contender.describe()}`),
    table(['', 'emulating thread, CPU s', 'guest MIPS'], rows),
    right ? 'checksum as native' : `WRONG CHECKSUM: ${ours.checksum}, native ${reference ?? 'none'}`,
    verdict(`${LIMIT} MIPS`, held),
  ].join('\n');
  return { text, data: { scale, ...ours, mips, reference, others: Object.fromEntries(others) }, ok: held && right };
}
