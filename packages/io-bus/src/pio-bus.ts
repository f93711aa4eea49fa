import { createAccess, type IoAccess, type IoBusOptions } from './access.ts';
import type { IoEventFds } from './ioeventfd.ts';
import type { IoDevice } from './ports.ts';
import { type IoRange, overlap, type Region, toRegion } from './range.ts';

/** Ports on an x86 processor: 64 Ki (SDM vol. 1 §19.3). */
export const PORT_COUNT = 0x1_0000;

/** A bus: accesses by the CPU, registration by whoever wires the machine. */
export type IoBus = IoAccess &
  IoEventFds & {
    /**
     * Puts a device at a range; dispose the result to take it away again (disposing twice does nothing more).
     * @throws IoBusError `IO_BUS_OVERLAP` naming both ranges, `IO_BUS_RANGE` for an impossible range
     */
    readonly register: (range: IoRange, device: IoDevice) => Disposable;
  };

/**
 * The port I/O bus. A flat table with one slot per port makes every lookup one load, however many devices there are: guests
 * poll ports in tight loops. Addresses past 0xffff (a word at port 0xffff) hit nothing, as no device decodes A16.
 */
export function createPioBus(options: IoBusOptions = {}): IoBus {
  /** Per port the slot in `regions`, 0 for none. */
  const slots = new Uint16Array(PORT_COUNT);
  const regions: (Region | undefined)[] = [undefined];
  const find = (port: number): Region | undefined => (port < PORT_COUNT ? regions[slots[port]] : undefined);

  const freeSlot = (): number => {
    const free = regions.indexOf(undefined, 1);
    return free > 0 ? free : regions.length;
  };
  const register = (range: IoRange, device: IoDevice): Disposable => {
    const region = toRegion(range, device, PORT_COUNT);
    for (let port = region.base; port < region.end; port++) {
      const present = regions[slots[port]];
      if (present !== undefined) throw overlap(region, present);
    }
    const slot = freeSlot();
    regions[slot] = region;
    slots.fill(slot, region.base, region.end);
    return {
      [Symbol.dispose]: () => {
        if (regions[slot] !== region) return;
        regions[slot] = undefined;
        slots.fill(0, region.base, region.end);
      },
    };
  };
  return { ...createAccess(find, { bus: 'pio', limit: PORT_COUNT }, options), register };
}
