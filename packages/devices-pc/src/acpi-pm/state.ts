import { defineLayout } from '@tsvisor/state-layout';

/** Change it with the schema. */
export const ACPI_PM_STATE_VERSION = 1;

export const acpiPmLayout = defineLayout('acpi-pm', {
  /** Timer ticks since power-on at the moment `originNs`, never wrapped. */
  baseTicks: 'f64',
  /** Monotonic time at which the timer had `baseTicks`; in saved state 0. */
  originNs: 'f64',
  /** Half periods of the counter (changes of its top bit) accounted for in TMR_STS. */
  seenHalfPeriods: 'f64',
  status: 'u16',
  enable: 'u16',
  control: 'u16',
  resetControl: 'u8',
});
