/** `pnpm soak:memtest`: one full pass of memtest86+ on 64 MB, about four minutes, of which 160 s are its bit fade test waiting. */
import { findMemtest, runMemtest } from './run.ts';

const LIMIT_SECONDS = 1800;

const found = await findMemtest();
if ('missing' in found) {
  console.error(`memtest86+ cannot be had: ${found.missing}`);
  process.exit(2);
}
const started = performance.now();
const seconds = (): number => Math.round((performance.now() - started) / 1000);
const screen = await runMemtest(
  found.file,
  LIMIT_SECONDS,
  ({ passes, errors }) => passes > 0 || (errors ?? 0) > 0,
  ({ percent, test, errors }) =>
    process.stderr.write(`\r${seconds()} s: ${percent} % of the pass, test #${test}, ${errors ?? 0} errors `),
);
process.stderr.write('\n');
console.log(`${screen.passes} pass completed in ${seconds()} s, ${screen.errors} errors`);
process.exit(screen.passes > 0 && screen.errors === 0 ? 0 : 1);
