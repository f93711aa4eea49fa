import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CpioEntry, readCpio, writeCpio } from './cpio.ts';
import { BootError } from './errors.ts';

const entries: CpioEntry[] = [
  { type: 'dir', path: 'bin', mode: 0o755 },
  { type: 'file', path: 'bin/busybox', data: new Uint8Array([1, 2, 3, 4, 5]), mode: 0o755 },
  { type: 'symlink', path: 'bin/sh', target: 'busybox' },
  { type: 'char', path: 'dev/console', major: 5, minor: 1, mode: 0o600 },
  { type: 'block', path: 'dev/vda', major: 254, minor: 0, mode: 0o660 },
  { type: 'file', path: 'empty', data: new Uint8Array(0), mode: 0o644 },
];

describe('newc cpio (buffer-format.rst)', () => {
  it('writes what it reads', () => {
    expect(readCpio(writeCpio(entries))).toEqual(entries);
  });

  it('numbers inodes from 1 and gives the same bytes for the same entries', () => {
    const archive = writeCpio(entries);
    expect(writeCpio(entries)).toEqual(archive);
    const header = new TextDecoder('latin1').decode(archive.subarray(0, 110));
    expect(header.slice(0, 14)).toBe('07070100000001');
    expect(header.slice(14, 22)).toBe('000041ED');
  });

  it('has a length divisible by 4, so that archives can be concatenated', () => {
    for (let n = 0; n < 8; n++)
      expect(writeCpio([{ type: 'file', path: 'x'.repeat(n + 1), data: new Uint8Array(n) }]).length % 4).toBe(0);
  });

  it('is understood by cpio(1)', () => {
    const result = spawnSync('cpio', ['-itv', '--quiet'], { input: writeCpio(entries), encoding: 'utf8' });
    if (result.error !== undefined) return;
    expect(result.status).toBe(0);
    const lines = result.stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(entries.length);
    expect(lines[1]).toMatch(/^-rwxr-xr-x .* 5 .* bin\/busybox$/);
    expect(lines[2]).toMatch(/^lrwxrwxrwx .* bin\/sh -> busybox$/);
    expect(lines[3]).toMatch(/^crw------- .* 5, +1 .* dev\/console$/);
  });

  it('refuses paths that an initramfs cannot hold', () => {
    for (const path of ['', '/abs', 'a//b', '../up', 'a/./b', 'dir/', 'TRAILER!!!', 'nul\0'])
      expect(() => writeCpio([{ type: 'dir', path }]), path).toThrow(BootError);
  });

  it('round-trips any file, and reads any bytes without another error than BootError', () => {
    const name = fc.stringMatching(/^[a-z]{1,9}$/);
    fc.assert(
      fc.property(name, fc.uint8Array({ maxLength: 64 }), (path, data) => {
        expect(readCpio(writeCpio([{ type: 'file', path, data, mode: 0o644 }]))).toEqual([
          { type: 'file', path, data, mode: 0o644 },
        ]);
      }),
    );
    const archive = writeCpio(entries);
    fc.assert(
      fc.property(fc.nat(archive.length), fc.nat(), fc.nat(255), (length, at, value) => {
        const copy = archive.slice(0, length);
        copy[at % archive.length] = value;
        try {
          readCpio(copy);
        } catch (error) {
          expect(error).toBeInstanceOf(BootError);
        }
      }),
    );
  });
});
