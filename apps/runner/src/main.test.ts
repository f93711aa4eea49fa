import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { prepare } from './prepare.ts';
import { runOptions } from './testing/fakes.ts';

const main = fileURLToPath(new URL('./main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tsvisor-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, data: string | Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, data);
  return path;
};
const tsvisor = (...args: string[]) =>
  spawnSync(process.execPath, ['--conditions=tsvisor-source', main, ...args], {
    encoding: 'utf8',
    env: { ...process.env, XDG_CACHE_HOME: folder },
  });

/** The beginning of a bzImage whose payload lies beyond the end of the file. */
function truncatedKernel(): Uint8Array {
  const image = new Uint8Array(4096);
  const view = new DataView(image.buffer);
  image.set([2], 0x1f1);
  view.setUint32(0x1f4, 0x10000, true);
  view.setUint16(0x1fe, 0xaa55, true);
  image.set([0xeb, 0x6a, 0x48, 0x64, 0x72, 0x53, 0x0f, 0x02], 0x200);
  image[0x211] = 1;
  view.setUint32(0x22c, 0x7fff_ffff, true);
  view.setUint32(0x230, 0x20_0000, true);
  view.setUint16(0x236, 1, true);
  view.setUint32(0x24c, 500_000, true);
  view.setUint32(0x258, 0x100_0000, true);
  return image;
}

describe('the tsvisor command', () => {
  it.each([
    ['an unknown option', ['--frobnicate'], /unknown option '--frobnicate'/],
    ['a missing kernel', ['--kernel', '/does/not/exist'], /cannot read the kernel \/does\/not\/exist: no such file/],
    ['a file that is no kernel', ['--kernel', file('text', 'hello\n'.repeat(1000))], /not a Linux kernel/],
    ['a truncated kernel', ['--kernel', file('half', truncatedKernel())], /kernel is truncated: it has 4096 bytes/],
    ['an unreadable initrd', ['--initrd', folder], /cannot read the initrd .*: it is a directory/],
    [
      'a folder for code that is none',
      ['--code-cache', file('no-folder', '')],
      /cannot keep code in .*no-folder: it is no folder/,
    ],
    ['a memory size that is none', ['--memory', 'lots'], /--memory 'lots' is not a size/],
  ])('%s: one clear line, status 2', (_, args, message) => {
    const { status, stdout, stderr } = tsvisor('run', ...args);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^tsvisor: [^\n]+\n$/);
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });

  it('--help goes to standard output with status 0', () => {
    const { status, stdout, stderr } = tsvisor('run', '--help');
    expect(status).toBe(0);
    expect(stderr).toBe('');
    expect(stdout).toContain('Examples:');
  });
});

describe('kernel command line', () => {
  const elf = (() => {
    // The smallest ELF with something to load: one PT_LOAD of 16 bytes at 16 MiB.
    const image = new Uint8Array(136);
    const view = new DataView(image.buffer);
    image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
    view.setUint16(16, 2, true);
    view.setUint16(18, 62, true);
    view.setUint32(24, 0x100_0000, true);
    view.setUint32(32, 64, true);
    view.setUint16(54, 56, true);
    view.setUint16(56, 1, true);
    view.setUint32(64, 1, true);
    view.setUint32(72, 120, true);
    view.setUint32(88, 0x100_0000, true);
    view.setUint32(96, 16, true);
    view.setUint32(104, 16, true);
    return image;
  })();
  const initrd = file('initrd', 'abc');
  const kernel = file('vmlinux', elf);
  const of = (over: Parameters<typeof runOptions>[0]) =>
    prepare({
      options: runOptions({ kernel, initrd, ...over }),
      terminal: { rows: 1, columns: 1, term: 'x' },
      progress: () => undefined,
    });
  const bootOf = async (over: Parameters<typeof of>[0]) => {
    const { boot } = await of(over);
    if (!('kernel' in boot)) throw new Error('there is no kernel');
    return boot;
  };

  it('is what a QEMU user would write, plus --append last', async () => {
    expect((await bootOf({})).cmdline).toBe('console=ttyS0');
    expect((await bootOf({ append: ' debug ' })).cmdline).toBe('console=ttyS0 debug');
  });

  it('is quiet for --exec, ends on a panic, and starts our init in a foreign initramfs', async () => {
    const { cmdline, initrd: archive } = await bootOf({ exec: 'ls' });
    expect(cmdline).toBe('console=ttyS0 quiet panic=-1 rdinit=/.tsvisor/init');
    expect((await of({ exec: 'ls' })).ourInit).toBe(true);
    expect(new TextDecoder('latin1').decode(archive?.subarray(0, 10))).toBe('abc\x00070701');
  });

  it("leaves a user's initramfs as it is, or out", async () => {
    expect([...((await bootOf({})).initrd ?? [])]).toEqual([...Buffer.from('abc')]);
    expect((await bootOf({ initrd: 'none' })).initrd).toBeUndefined();
    expect((await of({})).ourInit).toBe(false);
  });
});
