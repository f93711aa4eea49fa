/** The beginning of a pass of memtest86+; the whole of it is `pnpm soak:memtest`. */
import { expect, it } from 'vitest';
import { findMemtest, runMemtest } from './memtest/run.ts';

const found = await findMemtest();
const missing = 'missing' in found ? found.missing : undefined;
const LAST_TEST = 6;
const LIMIT_SECONDS = 300;

it.skipIf(missing !== undefined)(
  `memtest86+ finds no error in 64 MB, in its tests #0 to #${LAST_TEST - 1}${missing === undefined ? '' : ` (not run: ${missing})`}`,
  async () => {
    if ('missing' in found) return;
    const screen = await runMemtest(found.file, LIMIT_SECONDS, ({ test, errors }) => test >= LAST_TEST || (errors ?? 0) > 0);
    expect(screen.errors).toBe(0);
    expect(screen.test).toBeGreaterThanOrEqual(LAST_TEST);
  },
  1000 * (LIMIT_SECONDS + 60),
);
