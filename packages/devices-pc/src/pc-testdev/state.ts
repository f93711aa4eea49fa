import { array, defineLayout } from '@tsvisor/state-layout';
import { LATCH_BYTES, TESTDEV_LINES, TESTDEV_MEMORY } from './registers.ts';

/** Change it with the schema. */
export const PC_TESTDEV_STATE_VERSION = 1;

export const pcTestdevLayout = defineLayout('pc-testdev', {
  latch: array('u8', LATCH_BYTES),
  byteLatch: array('u8', LATCH_BYTES),
  irq: array('u8', TESTDEV_LINES),
  memory: array('u8', TESTDEV_MEMORY.size),
});
