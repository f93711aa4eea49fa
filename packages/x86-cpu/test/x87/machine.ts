/** The routines on their own, over a processor state in a memory of their own. */
import { ModuleBuilder } from '@tsvisor/wasm-codegen';
import { addX87Routines } from '../../src/numeric/x87-routines.ts';
import { CPU } from '../../src/state.ts';

const BASE = 64;
type Call = (...args: (number | bigint)[]) => number | bigint;

export class Machine {
  readonly cpu;
  readonly call: (name: string, ...args: (number | bigint)[]) => number | bigint;
  readonly #view: DataView;

  constructor() {
    const module = new ModuleBuilder();
    const cpu = module.importGlobal('env', 'cpu', 'i32');
    module.importMemory('env', 'memory', { min: 1, max: 1 });
    const routines = addX87Routines(module, cpu);
    for (const [name, ref] of routines) module.exportFunction(name, ref);
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
    const env = { memory, cpu: new WebAssembly.Global({ value: 'i32' }, BASE) };
    const bytes = module.build({ names: true });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env });
    const functions = exports as Record<string, Call>;
    this.call = (name, ...args) => functions[name](...args);
    this.cpu = CPU.view(memory.buffer, BASE);
    this.cpu.cr0 = 1n;
    this.#view = new DataView(memory.buffer);
  }

  load(image: DataView): void {
    const { cpu } = this;
    const view = this.#view;
    cpu.fcw = image.getUint16(0, true);
    const sw = image.getUint16(4, true);
    cpu.fsw = sw & ~0x3800;
    cpu.ftop = (sw >> 11) & 7;
    const tags = image.getUint16(8, true);
    let empty = 0;
    for (let i = 0; i < 8; i++) if (((tags >> (2 * i)) & 3) === 3) empty |= 1 << i;
    cpu.fempty = empty;
    for (let i = 0; i < 8; i++) {
      const at = BASE + CPU.offset.fpr + 16 * ((cpu.ftop + i) & 7);
      view.setBigUint64(at, image.getBigUint64(28 + 10 * i, true), true);
      view.setUint32(at + 8, image.getUint16(36 + 10 * i, true), true);
    }
  }

  /** Control word, status word, empty registers and register contents as in an FNSAVE image, tags as 0 or 3. */
  save(image: DataView): void {
    const { cpu } = this;
    const view = this.#view;
    image.setUint16(0, cpu.fcw, true);
    image.setUint16(4, cpu.fsw | (cpu.ftop << 11), true);
    let tags = 0;
    for (let i = 0; i < 8; i++) if ((cpu.fempty >> i) & 1) tags |= 3 << (2 * i);
    image.setUint16(8, tags, true);
    for (let i = 0; i < 8; i++) {
      const at = BASE + CPU.offset.fpr + 16 * ((cpu.ftop + i) & 7);
      image.setBigUint64(28 + 10 * i, view.getBigUint64(at, true), true);
      image.setUint16(36 + 10 * i, view.getUint16(at + 8, true), true);
    }
  }

  /** Lends a copy of part of a record to `use`, by its address in the memory, and copies it back. */
  withBytes(record: DataView, from: number, bytes: number, use: (address: number) => void): void {
    const at = 16384;
    for (let i = 0; i < bytes; i++) this.#view.setUint8(at + i, record.getUint8(from + i));
    use(at);
    for (let i = 0; i < bytes; i++) record.setUint8(from + i, this.#view.getUint8(at + i));
  }

  helper(n: number): bigint {
    return this.#view.getBigUint64(BASE + CPU.offset.helper + 8 * n, true);
  }
}
