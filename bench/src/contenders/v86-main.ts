/**
 * Boots a kernel under v86 with its console on standard output: a program of its own, so that its threads can be measured from
 * outside as those of the other contenders are.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { V86 } from 'v86';

const text = { type: 'string', default: '' } as const;
const { values } = parseArgs({
  options: { kernel: text, initrd: text, append: text, memory: text, bios: text, 'vga-bios': text },
});
const image = (path: string): { buffer: ArrayBuffer } => ({ buffer: new Uint8Array(readFileSync(path)).buffer });

const machine = new V86({
  wasm_path: join(dirname(fileURLToPath(import.meta.resolve('v86'))), 'v86.wasm'),
  bios: image(values.bios),
  vga_bios: image(values['vga-bios']),
  memory_size: Number(values.memory) * 2 ** 20,
  bzimage: image(values.kernel),
  initrd: image(values.initrd),
  cmdline: values.append,
  autostart: true,
});

// A line at a time: a system call per byte would be counted as the emulator's work.
let line = '';
machine.add_listener('serial0-output-byte', (byte: number) => {
  line += String.fromCharCode(byte);
  if (byte !== 0x0a) return;
  process.stdout.write(line, 'latin1');
  line = '';
});
