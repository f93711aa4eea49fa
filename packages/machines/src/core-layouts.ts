import { MACHINE_DOORBELL_LAYOUT, PROCESSOR_MMU_OFFSETS } from '@tsvisor/vmm-core';
import type { CoreLayouts } from '@tsvisor/x86-cpu';

/** What the virtual machine core gives its processors: what an engine's core has to be built for. */
export const CORE_LAYOUTS: CoreLayouts = { mmu: PROCESSOR_MMU_OFFSETS, doorbells: MACHINE_DOORBELL_LAYOUT };
