import { array, defineLayout } from '@tsvisor/state-layout';

/** Change it with the schema. */
export const RTC_STATE_VERSION = 1;

export const rtcLayout = defineLayout('rtc', {
  /** The guest's time minus the host's: whole seconds, and 0 to 999,999,999 ns. */
  offsetSeconds: 'f64',
  offsetNs: 'f64',
  /** Guest time up to which flags have been derived: seconds since 1970, and periods of the 32,768 Hz crystal. */
  seenSeconds: 'f64',
  seenTicks: 'f64',
  index: 'u8',
  extendedIndex: 'u8',
  /** Registers (time as last computed or written) and RAM; from 128 on the second bank. */
  ram: array('u8', 256),
});
