import { array, defineLayout } from '@tsvisor/state-layout';
import { RAM_SIZE } from './registers.ts';

/** Change it with the schema. */
export const I8042_STATE_VERSION = 1;

/** Answers that may wait for the guest; each command gives one. */
export const QUEUE_SIZE = 8;

export const i8042Layout = defineLayout('i8042', {
  outputPort: 'u8',
  /** Command that waits for its data byte, 0 for none. */
  pendingCommand: 'u8',
  /** STATUS_COMMAND as last set. */
  lastWrite: 'u8',
  /** Byte at the data port, shown again after it has been read. */
  data: 'u8',
  queueHead: 'u8',
  queueCount: 'u8',
  ram: array('u8', RAM_SIZE),
  queue: array('u8', QUEUE_SIZE),
  /** STATUS_AUX_OBF and STATUS_TIMEOUT that belong to each byte. */
  queueFlags: array('u8', QUEUE_SIZE),
});
