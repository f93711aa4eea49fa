import {
  APIC_BASE_ENABLE,
  APIC_BASE_EXTD,
  APIC_IRR,
  APIC_SVR,
  APIC_TPR,
  LAPIC_LAYOUT,
  LVT_WRITABLE,
  SVR_WRITABLE,
} from './lapic-registers.ts';
import { bad, openImage } from './state-image.ts';

export const LAPIC_IMAGE = { name: 'local APIC', id: 4, version: 1, size: LAPIC_LAYOUT.size } as const;

/** Checks that an image holds a state that a local APIC can be in. */
export function checkLapicImage(image: unknown): { bytes: Uint8Array; savedNs: number } {
  const opened = openImage(LAPIC_IMAGE, image);
  const view = LAPIC_LAYOUT.view(opened.bytes.buffer);
  const { regs } = view;
  const modes = view.apicBase[0] & (APIC_BASE_ENABLE | APIC_BASE_EXTD);
  if (view.poweredOn[0] !== 1) throw bad(LAPIC_IMAGE, 'was never powered on');
  if (modes === APIC_BASE_EXTD) throw bad(LAPIC_IMAGE, 'is in an invalid mode');
  if (Number.isNaN(view.timerTargetNs[0]) || view.timerTargetNs[0] < -Number.MAX_SAFE_INTEGER)
    throw bad(LAPIC_IMAGE, 'has no valid timer target');
  if (view.events[0] > 31 || view.sipiVector[0] > 255) throw bad(LAPIC_IMAGE, 'has impossible events');
  if (view.lint[0] > 1 || view.lint[1] > 1) throw bad(LAPIC_IMAGE, 'has an impossible pin level');
  if (regs[APIC_TPR >> 4] > 255 || regs[APIC_SVR >> 4] & ~SVR_WRITABLE) throw bad(LAPIC_IMAGE, 'sets reserved bits');
  if (regs[APIC_IRR >> 4] & 0xffff) throw bad(LAPIC_IMAGE, 'requests a vector below 16');
  for (const [offset, writable] of Object.entries(LVT_WRITABLE))
    if (regs[Number(offset) >> 4] & ~(writable | 0x4000)) throw bad(LAPIC_IMAGE, `sets reserved bits of LVT ${offset}`);
  return opened;
}
