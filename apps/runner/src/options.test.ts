import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseCommandLine } from './cli.ts';
import { cacheFolder } from './debian/cache.ts';
import { RunnerError } from './errors.ts';
import {
  parseCpus,
  parseDevice,
  parseFile,
  parseJitDump,
  parseSerial,
  parseSize,
  parseTimeout,
  type RunOptions,
} from './options.ts';

describe('option values', () => {
  it('sizes: K, M, G; a plain number is MiB; whole pages', () => {
    expect(parseSize('512M')).toBe(512 * 2 ** 20);
    expect(parseSize('1g')).toBe(2 ** 30);
    expect(parseSize('1.5GiB')).toBe(1.5 * 2 ** 30);
    expect(parseSize('256')).toBe(256 * 2 ** 20);
    expect(parseSize('10000K')).toBe(10000 * 1024);
    expect(parseSize('1.0001M') % 4096).toBe(0);
    for (const bad of ['', 'abc', '-5', '0', '1T', '1K', '12MM', 'NaN', '1e9'])
      expect(() => parseSize(bad), bad).toThrow(/is not a size/);
  });

  it('numbers of processors', () => {
    expect(parseCpus('1')).toBe(1);
    expect(parseCpus(' 254 ')).toBe(254);
    for (const bad of ['0', '255', '-1', '1.5', '2x', '', '1e2', '0x2']) expect(() => parseCpus(bad), bad).toThrow(/--cpus/);
  });

  it('timeouts in seconds', () => {
    expect(parseTimeout('1.5')).toBe(1500);
    expect(parseTimeout('30s')).toBe(30000);
    for (const bad of ['0', '-1', 'x', '', '1e99', '99999999999']) expect(() => parseTimeout(bad), bad).toThrow(RunnerError);
  });

  it('devices for test images', () => {
    expect(parseDevice('isa-debug-exit')).toEqual({ kind: 'isa-debug-exit', port: 0xf4, size: 4 });
    expect(parseDevice('isa-debug-exit,iobase=0x501,iosize=2')).toEqual({ kind: 'isa-debug-exit', port: 0x501, size: 2 });
    expect(parseDevice('isa-debugcon,iobase=1026')).toEqual({ kind: 'isa-debugcon', port: 1026 });
    expect(parseDevice('pc-testdev')).toEqual({ kind: 'pc-testdev' });
    for (const bad of [
      '',
      'e1000',
      'pc-testdev,iobase=1',
      'isa-debug-exit,',
      'isa-debug-exit,iosize=3',
      'isa-debug-exit,iobase=0xfffd',
      'isa-debugcon,iosize=1',
    ])
      expect(() => parseDevice(bad), bad).toThrow(RunnerError);
    for (const bad of ['isa-debugcon,iobase=0x10000', 'isa-debugcon,iobase=-1', 'isa-debugcon,iobase', 'constructor'])
      expect(() => parseDevice(bad), bad).toThrow(/--device/);
  });

  it('serial targets', () => {
    expect(parseSerial('file:a:b')).toEqual({ kind: 'file', path: 'a:b' });
    expect(parseSerial('null')).toEqual({ kind: 'null' });
    for (const bad of ['', 'file:', 'tcp:1', 'STDIO']) expect(() => parseSerial(bad), bad).toThrow(RunnerError);
  });

  it('addresses of code, and where their region goes', () => {
    expect(parseJitDump('0xffffffff81000000')).toEqual({ gva: 0xffff_ffff_8100_0000n });
    expect(parseJitDump('4096:a:b')).toEqual({ gva: 4096n, file: 'a:b' });
    for (const bad of ['', 'x', '-1', '0x', '12:', ':f', '0x10000000000000000', 'ff'])
      expect(() => parseJitDump(bad), bad).toThrow(/is not ADDRESS/);
  });

  it('files: HOST, HOST:GUEST, HOST:FOLDER/', () => {
    expect(parseFile('/tmp/a.out')).toEqual({ host: '/tmp/a.out', guest: 'a.out' });
    expect(parseFile('dir/:/usr/share/x')).toEqual({ host: 'dir/', guest: 'usr/share/x' });
    expect(parseFile('./a.out:/bin/')).toEqual({ host: './a.out', guest: 'bin/a.out' });
    for (const bad of ['', ':x', 'a:', 'a:../x', '..', 'a:/']) {
      if (bad === 'a:/') expect(parseFile(bad).guest).toBe('a');
      else expect(() => parseFile(bad), bad).toThrow(RunnerError);
    }
  });
});

describe('the command line', () => {
  const options = (...argv: string[]): RunOptions => {
    const request = parseCommandLine(['run', ...argv]);
    if (request.kind !== 'run') throw new Error('not a run');
    return request.options;
  };
  const text = (...argv: string[]): string => {
    const request = parseCommandLine(argv);
    if (request.kind !== 'text') throw new Error('not a text');
    return request.text;
  };

  it('has defaults for everything', () => {
    expect(options()).toEqual({
      append: '',
      memoryBytes: 512 * 2 ** 20,
      cpus: 1,
      inline: true,
      deterministic: false,
      cpu: 'max',
      tier: 'auto',
      files: [],
      devices: [],
      serial: { kind: 'stdio' },
      stats: false,
      codeCache: { folder: join(cacheFolder(), 'code'), given: false },
    });
  });

  it('takes every option', () => {
    const all = options(
      ...[
        '--kernel',
        'k',
        '--initrd',
        'i',
        '--append',
        'debug x=1',
        '--cpus',
        '4',
        '--memory',
        '1G',
        '--cpu',
        'qemu64',
        '--tier',
        'jit',
        '--debian',
        'i386',
      ],
      ...[
        '--exec',
        'ls -l',
        '--file',
        'a',
        '--file',
        'b:c',
        '--device',
        'isa-debugcon',
        '--serial',
        'file:log',
        '--timeout',
        '9',
        '--stats',
        '--dump-jit',
        '0x10:f',
        '--code-cache',
        'c',
      ],
    );
    expect(all).toEqual({
      kernel: 'k',
      initrd: 'i',
      append: 'debug x=1',
      memoryBytes: 2 ** 30,
      cpus: 4,
      inline: false,
      deterministic: false,
      cpu: 'qemu64',
      tier: 'jit',
      debian: 'i386',
      exec: 'ls -l',
      files: [
        { host: 'a', guest: 'a' },
        { host: 'b', guest: 'c' },
      ],
      devices: [{ kind: 'isa-debugcon', port: 0xe9 }],
      serial: { kind: 'file', path: 'log' },
      timeoutMs: 9000,
      stats: true,
      dumpJit: { gva: 16n, file: 'f' },
      codeCache: { folder: 'c', given: true },
    });
  });

  it('keeps no code if it is told so', () => {
    expect(options('--code-cache', 'none').codeCache).toBeUndefined();
  });

  it('keeps the console away from the output of --exec', () => {
    expect(options('--exec', 'ls').serial).toEqual({ kind: 'null' });
  });

  it('says in one line what it does not understand', () => {
    const cases: [string[], RegExp][] = [
      [['run', '--bogus'], /^unknown option '--bogus'/],
      [['run', '--memry', '5'], /did you mean --memory\?/],
      [['bogus'], /^unknown command 'bogus'/],
      [['run', 'extra'], /too many arguments/],
      [['run', '--exec'], /argument missing/],
      [['run', '--exec', ' '], /needs a command/],
      [['run', '--exec', 'ls', '--initrd', 'none'], /needs an initramfs/],
      [['run', '--dump-jit', '1', '--tier', 'interp'], /needs compiled code/],
    ];
    for (const [argv, message] of cases) {
      try {
        parseCommandLine(argv);
        expect.unreachable(argv.join(' '));
      } catch (error) {
        expect(error).toBeInstanceOf(RunnerError);
        expect((error as RunnerError).message).toMatch(message);
        expect((error as RunnerError).message).not.toContain('\n');
      }
    }
  });

  it('explains itself: every option, examples, keys and statuses', () => {
    const help = text('run', '--help');
    for (const part of [
      '--kernel',
      '--initrd',
      '--append',
      '--memory',
      '--cpu',
      '--debian',
      '--exec',
      '--serial',
      '--timeout',
      '--stats',
      '--dump-jit',
      'Examples:',
      'Ctrl-A x',
      '124',
      '125',
    ])
      expect(help).toContain(part);
    expect(text()).toContain('tsvisor run --help');
    expect(text('--help')).toContain('run [options]');
  });
});
