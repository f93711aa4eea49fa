/** Test images without an operating system, through the whole command: what they are told, what they say, and the status they end with. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tsvisor-bare-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, bytes: Uint8Array): string {
  writeFileSync(join(folder, name), bytes);
  return join(folder, name);
}

const LOADED = 0x10_0000;
/** A Multiboot kernel that is code from its header's end on; no ELF file. */
function multiboot(code: readonly number[], magic = 0x1bad_b002): Uint8Array {
  const flags = 0x1_0000;
  const header = Uint32Array.of(magic, flags, -(magic + flags), LOADED, LOADED, 0, 0, LOADED + 32);
  return Uint8Array.of(...new Uint8Array(header.buffer), ...code);
}

/** Says its command line on port 0xe9, and ends with the first byte of its module; with 0x55 if it was not entered as it should be. */
const TALKER = multiboot([
  ...[0x3d, 0x02, 0xb0, 0xad, 0x2b, 0x75, 0x16], // cmp eax, 0x2badb002; jne wrong
  ...[0x8b, 0x73, 0x10], // mov esi, [ebx+16]: the command line
  ...[0xac, 0x84, 0xc0, 0x74, 0x04, 0xe6, 0xe9, 0xeb, 0xf7], // next: lodsb; test al, al; jz +4; out 0xe9, al; jmp next
  ...[0x8b, 0x53, 0x18, 0x8b, 0x12, 0x8a, 0x02], // mov edx, [ebx+24]: the modules; mov edx, [edx]; mov al, [edx]
  ...[0xe6, 0xf4, 0xf4], // out 0xf4, al; hlt
  ...[0xb0, 0x55, 0xe6, 0xf4, 0xf4], // wrong: mov al, 0x55; out 0xf4, al; hlt
]);

function tsvisor(...args: string[]) {
  const command = ['--conditions=tsvisor-source', main, 'run', '--memory', '16M', '--timeout', '60', ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8', timeout: 120_000 });
  return { status, stdout, stderr };
}

describe('a Multiboot test image', () => {
  const kernel = file('talker.elf', TALKER);
  const initrd = file('module', Uint8Array.of(0x2a, 1, 2));
  const devices = ['--device', 'isa-debug-exit,iobase=0xf4,iosize=4', '--device', 'isa-debugcon'];

  it.each(['auto', 'jit', 'interp'])('says its name and arguments, and ends with the status it chose: tier %s', (tier) => {
    const ended = tsvisor('--kernel', kernel, '--append', ' one two ', '--initrd', initrd, '--tier', tier, ...devices);
    expect(ended).toEqual({ status: (0x2a << 1) | 1, stdout: 'talker.elf one two', stderr: '' });
  });

  it('without the exit port nothing answers there: the guest halts for good, and the timeout ends it', () => {
    const { status, stderr } = tsvisor('--kernel', kernel, '--initrd', initrd, '--timeout', '1', '--serial', 'null');
    expect([status, stderr]).toEqual([124, 'tsvisor: timeout: the guest did not end within 1 s\n']);
  });

  it('a guest that ends in a triple fault does not pass: status 125', () => {
    const bad = file('bad.elf', multiboot([0x0f, 0x0b])); // ud2, without an IDT
    expect(tsvisor('--kernel', bad, ...devices)).toEqual({
      status: 125,
      stdout: '',
      stderr: 'tsvisor: the guest died of a triple fault\n',
    });
  });
});

describe('what test images find', () => {
  it('the firmware configuration device and pc-testdev: processors, a port and memory that hold what is written', () => {
    const image = multiboot([
      ...[0x66, 0xba, 0x10, 0x05, 0x66, 0xb8, 0x05, 0x00, 0x66, 0xef], // mov dx, 0x510; mov ax, 5; out dx, ax: the number of processors
      ...[0x66, 0x42, 0xec, 0x88, 0xc3], // inc dx; in al, dx; mov bl, al
      ...[0xb8, 0x78, 0x56, 0x34, 0x12, 0xe7, 0xe0, 0xe4, 0xe1, 0x00, 0xc3], // mov eax, 0x12345678; out 0xe0, eax; in al, 0xe1; add bl, al
      ...[0xc7, 0x05, 0x10, 0x00, 0x00, 0xff, 0x21, 0x00, 0x00, 0x00], // mov dword [0xff000010], 0x21
      ...[0x02, 0x1d, 0x10, 0x00, 0x00, 0xff], // add bl, [0xff000010]
      ...[0x88, 0xd8, 0xe6, 0xf4, 0xf4], // mov al, bl; out 0xf4, al; hlt
    ]);
    const devices = ['--device', 'pc-testdev', '--device', 'isa-debug-exit'];
    const { status, stderr } = tsvisor('--kernel', file('finder', image), ...devices);
    expect([status, stderr]).toEqual([((1 + 0x56 + 0x21) << 1) | 1, '']);
  });
});

describe('a ROM', () => {
  /** Entered at F000:FFF0: says where it reads itself, below 1 MiB and, in a flat segment, below 4 GiB, and that it cannot be written. */
  function rom(size: number): Uint8Array {
    const image = new Uint8Array(size).fill(0xff);
    const code = [
      ...[0x2e, 0xa0, 0x00, 0x00], // mov al, cs:[0]: 'R', by the reset CS, below 4 GiB
      ...[0xe6, 0xe9], // out 0xe9, al
      ...[0xb8, 0x00, 0xf0, 0x8e, 0xd8], // mov ax, 0xf000; mov ds, ax
      ...[0xc6, 0x06, 0x01, 0x00, 0x21], // mov byte [1], '!': nothing
      ...[0xa0, 0x01, 0x00, 0xe6, 0xe9], // mov al, [1]; out 0xe9, al: 'O', below 1 MiB
      ...[0xb0, 0x15, 0xe6, 0xf4, 0xf4], // mov al, 0x15; out 0xf4, al; hlt
    ];
    image.set([0x52, 0x4f], size - 0x1_0000);
    image.set(code, size - 0x1_0000 + 0x100);
    image.set([0xe9, 0x0d, 0x01], size - 16); // jmp 0x100
    return image;
  }
  it.each([64, 128, 256])('of %i KiB runs from the reset vector, with its own exit status', (kib) => {
    const devices = ['--device', 'isa-debug-exit,iosize=1', '--device', 'isa-debugcon'];
    const ended = tsvisor('--bios', file(`rom${kib}`, rom(kib * 1024)), ...devices);
    expect(ended).toEqual({ status: (0x15 << 1) | 1, stdout: 'RO', stderr: '' });
  });
});

describe('what cannot be started is said in one line, with status 2', () => {
  const damaged = Uint8Array.from(TALKER);
  damaged[8] ^= 1;
  const header = new Uint8Array(52);
  header.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  const talker = file('talker.elf', TALKER);
  it.each([
    ['a damaged header', ['--kernel', file('damaged', damaged)], /multiboot header has a wrong checksum/],
    ['a file that is cut off', ['--kernel', file('cut', TALKER.subarray(0, 20))], /truncated/],
    ['an ELF file with nothing in it', ['--kernel', file('elf', header)], /for another processor/],
    ['a ROM of odd size', ['--bios', file('odd', new Uint8Array(65_537))], /multiples of 64 KiB, and this file has 65537 bytes/],
    ['an empty ROM', ['--bios', file('empty', new Uint8Array(0))], /this file has 0 bytes/],
    ['a ROM and a kernel', ['--bios', talker, '--kernel', talker], /takes no --kernel/],
    ['a ROM that is not there', ['--bios', join(folder, 'none')], /no such file/],
    ['a command for it', ['--kernel', talker, '--exec', 'ls'], /--exec needs a Linux kernel/],
    ['a device there is not', ['--kernel', talker, '--device', 'floppy'], /no such device/],
    ['a port that is taken', ['--kernel', talker, '--device', 'isa-debug-exit,iobase=0x3f8'], /com1/],
    ['a device twice', ['--kernel', talker, '--device', 'isa-debugcon', '--device', 'isa-debugcon,iobase=0x402'], /isa-debugcon/],
  ])('%s', (_, args, message) => {
    const { status, stdout, stderr } = tsvisor(...args);
    expect(stderr).toMatch(message);
    expect([status, stdout, stderr.split('\n').length]).toEqual([2, '', 2]);
  });
});
