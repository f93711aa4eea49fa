/** The path between IOAPICs, message-signalled interrupts and local APICs: destinations, arbitration, broadcast. SDM vol. 3 §12.6.2 */
import type { LapicCore } from './lapic-core.ts';
import {
  DELIVERY_EXTINT,
  DELIVERY_INIT,
  DELIVERY_LOWEST,
  ESR_SEND_ILLEGAL_VECTOR,
  ICR_ASSERT,
  ICR_LEVEL_TRIGGERED,
  ICR_LOGICAL,
  ICR_SHORTHAND_SHIFT,
} from './lapic-registers.ts';
import type { DeliveryCount } from './ports.ts';

const SHORTHAND_NONE = 0;
const SHORTHAND_SELF = 1;
const SHORTHAND_ALL = 2;

const MSI_BASE = 0xfee0_0000;
const MSI_LOGICAL = 1 << 2;
const MSI_REDIRECTION_HINT = 1 << 3;
const MSI_ASSERT = 1 << 14;
const MSI_LEVEL_TRIGGERED = 1 << 15;

export type ApicBusOptions = {
  /** A local APIC ended `vector`. Called for edge-triggered vectors too, so that tick sources see them. */
  readonly onEoi?: (vector: number, level: boolean) => void;
};

export class ApicBus {
  private readonly lapics: LapicCore[] = [];
  private readonly onEoi: ((vector: number, level: boolean) => void) | undefined;

  constructor(options: ApicBusOptions = {}) {
    this.onEoi = options.onEoi;
  }

  /** Connects a local APIC. Order breaks ties in arbitration. */
  attach(lapic: LapicCore): void {
    this.lapics.push(lapic);
  }

  /**
   * Sends one interrupt message.
   * @param dest destination field: 8 bits, or 32 when `wide` (x2APIC).
   * @returns how many processors took it, 0 when all had it pending already, negative when none could.
   */
  deliver(dest: number, logical: boolean, mode: number, vector: number, level: boolean, wide = false): DeliveryCount {
    if (mode === DELIVERY_LOWEST) return this.deliverLowest(dest, logical, vector, level, wide);
    let result = -1;
    for (let i = 0; i < this.lapics.length; i++) {
      const lapic = this.lapics[i];
      if (!lapic.enabled || !this.matches(lapic, dest, logical, wide)) continue;
      const count = lapic.accept(mode, vector, level);
      if (count >= 0) result = Math.max(result, 0) + count;
    }
    return result;
  }

  /** The lowest processor priority wins; equals take turns. SDM vol. 3 §12.6.2.4 */
  private deliverLowest(dest: number, logical: boolean, vector: number, level: boolean, wide: boolean): DeliveryCount {
    let winner: LapicCore | undefined;
    let lowest = 0;
    for (let i = 0; i < this.lapics.length; i++) {
      const lapic = this.lapics[i];
      if (!lapic.softwareEnabled || !this.matches(lapic, dest, logical, wide)) continue;
      const priority = lapic.arbitrationPriority();
      const better =
        winner === undefined || priority < lowest || (priority === lowest && lapic.arbitrationTurns < winner.arbitrationTurns);
      if (!better) continue;
      winner = lapic;
      lowest = priority;
    }
    if (winner === undefined) return -1;
    winner.tookTurn();
    return winner.accept(DELIVERY_LOWEST, vector, level);
  }

  private matches(lapic: LapicCore, dest: number, logical: boolean, wide: boolean): boolean {
    if (dest === (wide ? 0xffff_ffff : 0xff)) return true;
    if (!logical) return lapic.id === dest;
    const ldr = lapic.logicalId;
    // SDM vol. 3 §12.12.10.2: cluster number in the upper half.
    if (lapic.x2apic) return dest >>> 16 === ldr >>> 16 && (dest & ldr & 0xffff) !== 0;
    if (dest > 0xff) return false;
    const id = ldr >>> 24;
    if (lapic.flatModel) return (id & dest) !== 0;
    return id >> 4 === dest >> 4 && (id & dest & 15) !== 0;
  }

  /** ICR of `from` was written. SDM vol. 3 §12.6.1 */
  sendIpi(from: LapicCore, icr: number, dest: number): void {
    const mode = (icr >> 8) & 7;
    const vector = icr & 0xff;
    if (mode === 3 || mode === DELIVERY_EXTINT) return;
    if (mode <= DELIVERY_LOWEST && vector < 16) {
      from.error(ESR_SEND_ILLEGAL_VECTOR);
      return;
    }
    // INIT level de-assert only synchronises arbitration IDs, which integrated APICs do not have.
    if (mode === DELIVERY_INIT && icr & ICR_LEVEL_TRIGGERED && (icr & ICR_ASSERT) === 0) return;
    const shorthand = (icr >> ICR_SHORTHAND_SHIFT) & 3;
    if (shorthand === SHORTHAND_NONE) this.deliver(dest, (icr & ICR_LOGICAL) !== 0, mode, vector, false, from.x2apic);
    else if (shorthand === SHORTHAND_SELF) from.accept(mode, vector, false);
    else this.sendToAll(mode, vector, shorthand === SHORTHAND_ALL ? undefined : from);
  }

  private sendToAll(mode: number, vector: number, except: LapicCore | undefined): void {
    for (const lapic of this.lapics) if (lapic !== except && lapic.enabled) lapic.accept(mode, vector, false);
  }

  broadcastEoi(vector: number, level: boolean): void {
    this.onEoi?.(vector, level);
  }

  /**
   * A write to the interrupt message address range. SDM vol. 3 §12.11. Destination bits beyond the eighth come from address bits
   * 11–5 (KVM_FEATURE_MSI_EXT_DEST_ID) and from the high half (KVM_X2APIC_API_USE_32BIT_IDS).
   * @returns as `deliver`; negative for an address outside the range.
   */
  signalMsi(addressLo: number, addressHi: number, data: number): DeliveryCount {
    if ((addressLo & 0xfff0_0000) >>> 0 !== MSI_BASE) return -1;
    const level = (data & MSI_LEVEL_TRIGGERED) !== 0;
    if (level && (data & MSI_ASSERT) === 0) return 1;
    const extended = (((addressLo >>> 5) & 0x7f) << 8) | (addressHi & 0xffff_ff00);
    const dest = (((addressLo >>> 12) & 0xff) | extended) >>> 0;
    const mode = addressLo & MSI_REDIRECTION_HINT && ((data >> 8) & 7) === 0 ? DELIVERY_LOWEST : (data >> 8) & 7;
    return this.deliver(dest, (addressLo & MSI_LOGICAL) !== 0, mode, data & 0xff, level, extended !== 0);
  }
}

/** Connects local APICs with each other and with interrupt sources. */
export function createApicBus(options: ApicBusOptions = {}): ApicBus {
  return new ApicBus(options);
}
