import { defineLayout } from '@tsvisor/state-layout';

/** Change it with the schema. */
export const FW_CFG_STATE_VERSION = 1;

export const fwCfgLayout = defineLayout('fw-cfg', {
  selector: 'u16',
  /** Of the next byte of the selected item; it stops at the largest number. */
  offset: 'u32',
});
