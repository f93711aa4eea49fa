/** The physical address map of a microvm. */
import { HIGH_RAM_START, LOW_RAM_LIMIT } from '@tsvisor/boot';
import type { Vm } from '@tsvisor/vmm-core';
import { MachineError } from '../errors.ts';
import { VIDEO_WINDOW } from './map.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
/** Firmware ends where the processor's reset vector is; PCs show its end below 1 MiB as well. */
const ROM_END = 0x1_0000_0000;
const LOW_ROM_MOST = 128 * KiB;
const ROM_UNIT = 64 * KiB;
const ROM_MOST = 16 * MiB;

/** @throws MachineError MACHINES_FIRMWARE */
export function checkFirmware({ length }: Uint8Array): void {
  if (length > 0 && length % ROM_UNIT === 0 && length <= ROM_MOST) return;
  throw new MachineError(
    'MACHINES_FIRMWARE',
    `firmware has 64 KiB to 16 MiB in multiples of 64 KiB, and this file has ${length} bytes`,
  );
}

/** RAM as a PC has it: below the video window, up to 3 GiB, and the rest from 4 GiB on. Firmware, if there is any, takes its place in it. */
export function addMemory(vm: Vm, bytes: number, firmware?: Uint8Array): void {
  let slot = 0;
  const add = (start: number, end: number): void => {
    if (end > start) vm.setUserMemoryRegion({ slot: slot++, guestPhysAddr: start, memorySize: end - start });
  };
  const low = Math.min(bytes, LOW_RAM_LIMIT);
  add(0, VIDEO_WINDOW.start);
  if (firmware === undefined) add(VIDEO_WINDOW.end, low);
  else {
    const shown = Math.min(firmware.length, LOW_ROM_MOST);
    add(VIDEO_WINDOW.end, MiB - shown);
    const rom = { guestPhysAddr: ROM_END - firmware.length, memorySize: firmware.length, flags: { readOnly: true } };
    vm.setUserMemoryRegion({ slot: slot++, ...rom });
    const host = vm.memory.hostAddress(rom.guestPhysAddr) as number;
    new Uint8Array(vm.arena.memory.buffer, host, firmware.length).set(firmware);
    const userspaceAddr = host + firmware.length - shown;
    vm.setUserMemoryRegion({ slot: slot++, ...rom, guestPhysAddr: MiB - shown, memorySize: shown, userspaceAddr });
    add(MiB, low);
  }
  add(HIGH_RAM_START, HIGH_RAM_START + bytes - low);
}
