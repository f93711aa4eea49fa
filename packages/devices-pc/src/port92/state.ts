import { defineLayout } from '@tsvisor/state-layout';

/** Change it with the schema. */
export const PORT92_STATE_VERSION = 1;

export const port92Layout = defineLayout('port92', { value: 'u8' });
