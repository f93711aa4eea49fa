import type { Contender } from './contender.ts';

/** Has contenders run what is to be measured as often before as they say. */
export async function runEarlier<C extends Pick<Contender, 'name' | 'earlierRuns'>>(
  contenders: readonly C[],
  progress: (text: string) => void,
  run: (contender: C) => Promise<unknown>,
): Promise<void> {
  for (const contender of contenders) {
    const { name, earlierRuns = 0 } = contender;
    for (let n = 1; n <= earlierRuns; n++) {
      progress(`${name}, earlier run ${n}/${earlierRuns}`);
      await run(contender);
    }
  }
}
