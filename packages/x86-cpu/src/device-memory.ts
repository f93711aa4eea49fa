/** Accesses that the MMU found to be no memory's: generated code leaves the value in `CPU.helper`, or takes it from there. */
import type { IoLength, MmioBus, Mmu } from './ports.ts';
import { CPU } from './state.ts';

export class DeviceMemory {
  readonly #mmio: MmioBus;
  readonly #u32: Uint32Array;
  /** Indices of the MMU's last address, and of the value. */
  readonly #gpaLo: number;
  readonly #gpaHi: number;
  readonly #value: number;
  accesses = 0;

  constructor(memory: WebAssembly.Memory, cpu: number, mmu: Mmu, mmio: MmioBus) {
    this.#mmio = mmio;
    this.#u32 = new Uint32Array(memory.buffer);
    this.#gpaLo = (mmu.stateAddress + mmu.offsets.gpaLo) >> 2;
    this.#gpaHi = (mmu.stateAddress + mmu.offsets.gpaHi) >> 2;
    this.#value = (cpu + CPU.offset.helper) >> 2;
  }

  #gpa(): number {
    return this.#u32[this.#gpaLo] + this.#u32[this.#gpaHi] * 0x1_0000_0000;
  }

  read(size: number): void {
    this.accesses++;
    const gpa = this.#gpa();
    this.#u32[this.#value] = this.#mmio.read(gpa, Math.min(size, 4) as IoLength);
    this.#u32[this.#value + 1] = size === 8 ? this.#mmio.read(gpa + 4, 4) : 0;
  }

  write(size: number): void {
    this.accesses++;
    const gpa = this.#gpa();
    const value = this.#u32[this.#value];
    if (size === 8) this.#mmio.write64(gpa, value, this.#u32[this.#value + 1]);
    else this.#mmio.write(gpa, size as IoLength, size === 1 ? value & 0xff : size === 2 ? value & 0xffff : value);
  }
}
