import type { Bits, Contender } from './contender.ts';
import { nativeOf } from './native.ts';
import { qemuOf } from './qemu.ts';
import { tsvisor, tsvisorFirst } from './tsvisor.ts';
import { v86 } from './v86.ts';

/** Who takes part in a guest's measurements, in the order of tables. */
export type Roster = { readonly present: readonly Contender[]; readonly absent: readonly string[] };

/** Emulators of a guest, this project's first. */
export const emulators = (bits: Bits): readonly Contender[] => [
  tsvisor,
  tsvisorFirst,
  qemuOf(bits),
  ...(bits === 64 ? [] : [v86]),
];

/** Finds out who is installed; the others say why they are not there. */
export async function callRoll(contenders: readonly Contender[]): Promise<Roster> {
  const present: Contender[] = [];
  const absent: string[] = [];
  for (const contender of contenders) {
    await contender.prepare?.();
    const why = contender.missing();
    if (why === undefined) present.push(contender);
    else absent.push(why);
  }
  return { present, absent };
}

/** The emulators and, as the reference, the bare processor. */
export const suiteContenders = (bits: Bits): readonly Contender[] => [nativeOf(bits), ...emulators(bits)];
