import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readCpio } from '@tsvisor/boot';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { appletsOf, baseInitramfs } from './busybox.ts';
import { ExecChannel, makeToken } from './channel.ts';
import { joinArchives, overlayArchive } from './overlay.ts';

const token = makeToken();
const mark = (kind: string): Buffer => Buffer.from(`\x01tsvisor:${token}:${kind}\n`);

function receive(chunks: readonly Uint8Array[]) {
  const output: Uint8Array[] = [];
  const seen: (string | number)[] = [];
  const channel = new ExecChannel(token, {
    onReady: () => seen.push('ready'),
    onOutput: (bytes) => output.push(bytes.slice()),
    onStatus: (status) => seen.push(status),
  });
  for (const chunk of chunks) channel.write(chunk);
  return { output: Buffer.concat(output), seen };
}

/** Cuts data at arbitrary places. */
function cut(data: Uint8Array, places: readonly number[]): Uint8Array[] {
  const at = [...new Set(places.map((n) => n % (data.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((start, i) => data.subarray(start, at[i] ?? data.length));
}

describe('the exec channel', () => {
  it('hands on the bytes between its marks, and only those, however they are cut', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.uint8Array({ maxLength: 40 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        fc.nat(255),
        (body, noise, places, status) => {
          const stream = Buffer.concat([noise, mark('R'), noise, mark('B'), body, mark(`E${status}`), noise]);
          const { output, seen } = receive(cut(stream, places));
          expect(output.equals(body)).toBe(true);
          expect(seen).toEqual(['ready', status]);
        },
      ),
    );
  });

  it('is exact for output that resembles a mark', () => {
    const near = [
      mark('B').subarray(0, 20),
      Buffer.from('\x01\x01\x01tsvisor:'),
      Buffer.from(`\x01tsvisor:${makeToken()}:E0\n`),
      mark('Exyz'),
      mark('E1234'),
      mark('Z'),
      Buffer.from(`\x01tsvisor:${token}:and a long line that never is a mark`),
    ];
    for (const body of near) {
      for (const size of [1, 7, 1000]) {
        const stream = Buffer.concat([mark('B'), body, mark('E0')]);
        const chunks = Array.from({ length: Math.ceil(stream.length / size) }, (_, i) =>
          stream.subarray(i * size, (i + 1) * size),
        );
        const { output, seen } = receive(chunks);
        expect(output.toString('latin1')).toBe(body.toString('latin1'));
        expect(seen).toEqual([0]);
      }
    }
  });

  it('does not hold back output that cannot become a mark', () => {
    expect(receive([mark('B'), Buffer.from('prompt$ ')]).output.toString()).toBe('prompt$ ');
  });

  it('ignores an end before a beginning, and everything after the end', () => {
    expect(receive([mark('E3'), mark('B'), mark('E4'), Buffer.from('late'), mark('E5')])).toEqual({
      output: Buffer.alloc(0),
      seen: [4],
    });
  });
});

const names = [
  '[',
  '[[',
  'acpid',
  'ash',
  'awk',
  'busybox',
  'cat',
  'cp',
  'cttyhack',
  'cut',
  'date',
  'dd',
  'df',
  'dmesg',
  'echo',
  'head',
  'init',
  'ls',
  'mount',
  'poweroff',
  'sh',
  'stty',
  'zcat',
];
const busybox = new TextEncoder().encode(`\x7fELF…\0\0${names.join('\0')}\0\0rest`);

describe('the base initramfs', () => {
  it('links every applet that the binary names', () => {
    expect(appletsOf(busybox)).toEqual(names);
    const entries = readCpio(baseInitramfs(busybox));
    const links = entries.filter((e) => e.type === 'symlink' && e.path.startsWith('bin/')).map((e) => e.path.slice(4));
    expect(links).toEqual(names.filter((name) => name !== 'busybox'));
    expect(entries).toContainEqual({ type: 'char', path: 'dev/console', major: 5, minor: 1, mode: 0o600 });
    expect(entries).toContainEqual({ type: 'file', path: 'bin/busybox', data: busybox, mode: 0o755 });
  });

  it('refuses a file that is no busybox', () => {
    expect(() => appletsOf(new Uint8Array(1000))).toThrow(/no table of applets/);
  });
});

describe('the overlay', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvisor-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const base = { token: 't', terminal: { rows: 30, columns: 100, term: 'xterm; rm -rf /' }, files: [], replaceInit: true };

  it('carries init, token, terminal and command', () => {
    const entries = readCpio(overlayArchive({ ...base, command: "echo 'ä'" }));
    const text = (path: string): string => {
      const entry = entries.find((e) => e.path === path);
      return entry?.type === 'file' ? new TextDecoder().decode(entry.data as Uint8Array) : '';
    };
    expect(text('.tsvisor/token')).toBe('t\n');
    expect(text('.tsvisor/command')).toBe("echo 'ä'");
    expect(text('.tsvisor/terminal')).toBe('30 100 xtermrm-rf\n');
    expect(text('.tsvisor/init')).toMatch(/^#!\/bin\/sh\n/);
    expect(entries).toContainEqual({ type: 'symlink', path: 'init', target: '.tsvisor/init' });
  });

  it("leaves the init of a user's initramfs alone", () => {
    expect(readCpio(overlayArchive({ ...base, replaceInit: false })).map((e) => e.path)).not.toContain('init');
  });

  it('takes files and folders along, with modes, links and missing parents', () => {
    writeFileSync(join(folder, 'run.sh'), 'x', { mode: 0o755 });
    symlinkSync('run.sh', join(folder, 'link'));
    const files = [
      { host: folder, guest: 'opt/deep/tree' },
      { host: join(folder, 'link'), guest: 'bin/run' },
    ];
    const entries = readCpio(overlayArchive({ ...base, files }));
    expect(entries.map((e) => `${e.type} ${e.path}`).slice(-6)).toEqual([
      'dir opt',
      'dir opt/deep',
      'dir opt/deep/tree',
      'symlink opt/deep/tree/link',
      'file opt/deep/tree/run.sh',
      'file bin/run',
    ]);
    expect(entries.at(-1)).toMatchObject({ mode: 0o755 });
  });

  it('names a file that cannot be read', () => {
    const files = [{ host: join(folder, 'absent'), guest: 'x' }];
    expect(() => overlayArchive({ ...base, files })).toThrow(/cannot read .*absent for --file: no such file/);
  });

  it('is joined on a multiple of 4', () => {
    expect([...joinArchives(Uint8Array.of(1, 2, 3, 4, 5), Uint8Array.of(9))]).toEqual([1, 2, 3, 4, 5, 0, 0, 0, 9]);
  });
});
