import type { RtcPorts } from './ports.ts';
import * as R from './registers.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const BASE_KB = 640;
/** Coprocessor present, no floppy drives, display described elsewhere. */
const EQUIPMENT_BYTE = 0x02;

const clampTo = (value: number, limit: number): number => Math.min(Math.max(Math.floor(value), 0), limit);

function putLittleEndian(ram: Uint8Array, at: number, value: number, bytes: number): void {
  for (let i = 0; i < bytes; i++) ram[at + i] = Math.floor(value / 2 ** (8 * i)) & 0xff;
}

/** Fills the cells in which a PC's firmware leaves the memory sizes, and their checksum (IBM PC AT technical reference, §1). */
export function describeMachine(ram: Uint8Array, machine: RtcPorts['machine']): void {
  const extendedKb = clampTo((machine.memoryBelow4G - MIB) / KIB, 0xffff);
  ram[R.EQUIPMENT] = EQUIPMENT_BYTE;
  putLittleEndian(ram, R.BASE_MEMORY_KB, clampTo(machine.memoryBelow4G / KIB, BASE_KB), 2);
  putLittleEndian(ram, R.EXTENDED_MEMORY_KB, extendedKb, 2);
  putLittleEndian(ram, R.EXTENDED_MEMORY_KB_FOUND, extendedKb, 2);
  putLittleEndian(ram, R.MEMORY_ABOVE_16M, clampTo((machine.memoryBelow4G - 16 * MIB) / (64 * KIB), 0xffff), 2);
  putLittleEndian(ram, R.MEMORY_ABOVE_4G, clampTo(machine.memoryAbove4G / (64 * KIB), 0xff_ffff), 3);
  let sum = 0;
  for (let cell = 0x10; cell < R.CHECKSUM; cell++) sum += ram[cell];
  ram[R.CHECKSUM] = (sum >> 8) & 0xff;
  ram[R.CHECKSUM + 1] = sum & 0xff;
}
