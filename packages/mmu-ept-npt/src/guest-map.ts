import { array, defineLayout } from '@tsvisor/state-layout';

/** One slot: a run of guest-physical pages backed by a run of linear memory. */
export const SLOT = defineLayout(
  'guestSlot',
  {
    /** Bits of `SlotFlag`; 0 for a free slot. */
    flags: 'u32',
    /** First byte in linear memory, page-aligned. */
    host: 'u32',
    pages: 'u32',
    /** First guest-physical page: GPA >> 12. */
    gpaPage: 'u32',
    /** Linear-memory address of the dirty bitmap, one bit per page; 0 until the slot is first logged. */
    dirtyBitmap: 'u32',
  },
  { size: 20 },
);

export const SlotFlag = { USED: 1 << 0, READ_ONLY: 1 << 1, LOG_DIRTY: 1 << 2 } as const;

export const MAX_SLOTS = 512;

/** What threads share about guest memory besides the physical map itself. */
export const GUEST_MAP = defineLayout('guestMap', {
  /** Counts changes of the map, for those who cached a translation. */
  generation: 'u32',
  /** Slots in use lie below this number. */
  slotLimit: 'u32',
  /** Head of the list of free leaf tables, linked through their first words. */
  freeLeaf: 'u32',
  slots: array('u32', (MAX_SLOTS * SLOT.size) / 4),
});
