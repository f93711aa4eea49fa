import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileError } from '../errors.ts';
import { loadMachineFactory } from '../machine.ts';
import { chart } from './chart.ts';
import { keepHostAwake } from './host-awake.ts';
import { watchOthers } from './host-load.ts';
import { hostWake } from './host-wake.ts';
import { haltedVcpu } from './irqfd.ts';
import { type Figures, idleConsumer, streaming } from './measure.ts';
import type { DoorbellOptions } from './options.ts';
import { IRQFD, PATHS } from './paths.ts';
import { report } from './report.ts';

/** Where a person sees what is being done; '' is the end. */
export type Progress = (text: string) => void;

async function measure({ paths, seconds }: DoorbellOptions, progress: Progress): Promise<Figures[]> {
  const factory = await loadMachineFactory();
  const figures: Figures[] = [];
  for (const path of PATHS.filter(({ name }) => paths.includes(name))) {
    progress(`${path.name}, streaming`);
    figures.push(await streaming(factory, path, seconds));
    progress(`${path.name}, idle-consumer`);
    figures.push(await idleConsumer(factory, path, seconds));
  }
  if (paths.includes(IRQFD)) {
    for (const form of ['halted-vcpu', 'sleeping-vcpu'] as const) {
      progress(`${IRQFD}, ${form}`);
      figures.push(await haltedVcpu(factory, form, seconds));
    }
  }
  progress('');
  return figures;
}

function host(): string {
  const [{ model }, ...others] = cpus();
  return `Node ${process.version}, ${others.length + 1} × ${model.trim()}`;
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw fileError(`cannot write ${path}`, error);
  }
}

/** Measures, writes files, and returns what is for standard output. @throws RunnerError */
export async function doorbell(options: DoorbellOptions, progress: Progress): Promise<string> {
  const { json, svg, seconds, keepAwake } = options;
  // Not after all has been measured.
  for (const path of [json, svg]) if (typeof path === 'string') write(path, '');
  const letHalt = keepAwake ? await keepHostAwake() : undefined;
  try {
    const others = watchOthers(!keepAwake);
    const figures = await measure(options, progress);
    const data = `${JSON.stringify(figures, undefined, 2)}\n`;
    if (typeof json === 'string') write(json, data);
    if (svg !== undefined) write(svg, chart(figures));
    if (json === true) return data;
    const used = others();
    return report({ figures, seconds, host: host(), others: used, wakeUs: await hostWake(), keptAwake: keepAwake });
  } finally {
    await letHalt?.();
  }
}
