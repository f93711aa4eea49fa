import { defineLayout } from '@tsvisor/state-layout';

/** Change it with the schema. */
export const DELAY_PORT_STATE_VERSION = 1;

export const delayPortLayout = defineLayout('delay-port', { value: 'u8' });
