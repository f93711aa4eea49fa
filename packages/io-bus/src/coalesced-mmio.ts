import { type CoalescedBus, type CoalescedPlace, CoalescedRing, type CoalescedWrite } from './coalesced-ring.ts';
import { COALESCED_ZONE_MAX, type CoalescedMmioZone, checkZone, describeZone, storeZone } from './coalesced-zones.ts';
import { IoBusError } from './errors.ts';

const nobody: CoalescedWrite = () => undefined;

/**
 * A machine's coalesced writes, for the one thread that has its devices: registers zones, and hands on what waits. Buses that are made with it put
 * writes in, and flush before every other access.
 */
export class CoalescedMmio extends CoalescedRing {
  readonly #zones: CoalescedMmioZone[] = [];
  readonly #buses: Record<CoalescedBus, { write: CoalescedWrite; readonly limit: number }> = {
    pio: { write: nobody, limit: 0 },
    mmio: { write: nobody, limit: 0 },
  };
  readonly #deliver = {
    pio: ((...write) => this.#buses.pio.write(...write)) as CoalescedWrite,
    mmio: ((...write) => this.#buses.mmio.write(...write)) as CoalescedWrite,
  };
  #flushing = false;

  /** @param cpus vCPUs that have threads of their own to put writes in */
  constructor(place: CoalescedPlace, cpus: number) {
    super(place, cpus);
  }

  /** A bus with addresses below `limit` says where its writes go. */
  connect(bus: CoalescedBus, limit: number, write: CoalescedWrite): void {
    this.#buses[bus] = { write, limit };
  }

  /**
   * KVM_REGISTER_COALESCED_MMIO: from now on, writes that lie in the zone wait. Zones may overlap.
   * @throws IoBusError `IO_BUS_INVALID`, `IO_BUS_FULL`
   */
  register(zone: CoalescedMmioZone): void {
    checkZone(zone, this.#limitOf(zone));
    if (this.#zones.length >= COALESCED_ZONE_MAX)
      throw new IoBusError('IO_BUS_FULL', `${describeZone(zone)}: there are ${COALESCED_ZONE_MAX} already`);
    const { addr, size, pio } = zone;
    this.#zones.push({ addr, size, pio });
    this.#publish();
  }

  /**
   * KVM_UNREGISTER_COALESCED_MMIO: takes away what was registered just so, however often. Writes that wait are handed on.
   * @throws IoBusError `IO_BUS_INVALID`, `IO_BUS_NO_ZONE`
   */
  unregister(zone: CoalescedMmioZone): void {
    checkZone(zone, this.#limitOf(zone));
    const { addr, size, pio } = zone;
    const others = this.#zones.filter((other) => other.addr !== addr || other.size !== size || other.pio !== pio);
    if (others.length === this.#zones.length)
      throw new IoBusError('IO_BUS_NO_ZONE', `${describeZone(zone)} was not registered so`);
    this.#zones.splice(0, this.#zones.length, ...others);
    this.#publish();
    this.flush();
  }

  #limitOf({ pio }: CoalescedMmioZone): number {
    return this.#buses[pio ? 'pio' : 'mmio'].limit;
  }

  #publish(): void {
    this.changeZones(() => {
      for (const [index, zone] of this.#zones.entries()) storeZone(this.zones, index, zone);
      return this.#zones.length;
    });
  }

  /** Hands the writes that wait to the devices, in their order. A device that this calls finds that it does nothing. */
  flush(): void {
    if (this.#flushing || !this.waits) return;
    this.#flushing = true;
    try {
      this.take(this.#deliver);
    } finally {
      this.#flushing = false;
    }
  }
}
