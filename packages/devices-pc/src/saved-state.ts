/**
 * Saved state of one device: a header of 16 bytes (magic, version, payload size, check of the layout's name), then the bytes of
 * its layout. A restore checks all of it before it touches the device.
 */
import type { Layout, Schema, View } from '@tsvisor/state-layout';
import { DevicesPcError } from './errors.ts';
import type { StateSlot } from './ports.ts';

const MAGIC = 0x43_50_56_54; // 'TVPC'
const HEADER = 16;

/** FNV-1a of the layout's name: state of an RTC must not restore into a UART of the same size. */
function nameHash(name: string): number {
  let hash = 0x811c_9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x0100_0193);
  return hash >>> 0;
}

/**
 * Copies a device's state. `adjust` changes the copy, never the device: values on a clock's scale become values that mean
 * something on another host.
 */
export function saveState<S extends Schema>(
  layout: Layout<S>,
  version: number,
  slot: StateSlot,
  adjust?: (copy: View<S>) => void,
): Uint8Array {
  const saved = new Uint8Array(HEADER + layout.size);
  const header = new DataView(saved.buffer);
  header.setUint32(0, MAGIC, true);
  header.setUint32(4, version, true);
  header.setUint32(8, layout.size, true);
  header.setUint32(12, nameHash(layout.name), true);
  saved.set(new Uint8Array(slot.buffer, slot.byteOffset, layout.size), HEADER);
  adjust?.(layout.view(saved.buffer, HEADER));
  return saved;
}

/**
 * Replaces a device's state by a saved one. `isPossible` refuses states the device could never be in; it sees the copy.
 * @throws DevicesPcError `DEVICES_PC_BAD_STATE`; the device is unchanged then
 */
export function restoreState<S extends Schema>(
  layout: Layout<S>,
  version: number,
  slot: StateSlot,
  saved: unknown,
  isPossible: (candidate: View<S>) => boolean,
): void {
  const bad = (why: string): DevicesPcError => new DevicesPcError('DEVICES_PC_BAD_STATE', `${layout.name}: ${why}`);
  if (!(saved instanceof Uint8Array)) throw bad('saved state is not bytes');
  if (saved.byteLength !== HEADER + layout.size)
    throw bad(`saved state has ${saved.byteLength} bytes, not ${HEADER + layout.size}`);
  const copy = Uint8Array.from(saved);
  const header = new DataView(copy.buffer);
  if (header.getUint32(0, true) !== MAGIC || header.getUint32(12, true) !== nameHash(layout.name))
    throw bad('saved state belongs to something else');
  if (header.getUint32(4, true) !== version) throw bad(`saved state has version ${header.getUint32(4, true)}, not ${version}`);
  if (header.getUint32(8, true) !== layout.size) throw bad('saved state names another size');
  if (!isPossible(layout.view(copy.buffer, HEADER))) throw bad('saved state is impossible');
  new Uint8Array(slot.buffer, slot.byteOffset, layout.size).set(copy.subarray(HEADER));
}
