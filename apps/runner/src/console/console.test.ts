import { EventEmitter } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { BatchedWriter } from './batched-writer.ts';
import { EscapeFilter } from './escape.ts';
import { ConsoleTail } from './tail.ts';
import { enterRawMode } from './terminal.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const show = (filter: EscapeFilter, text: string): string =>
  filter
    .push(bytes(text))
    .map((input) => (input.kind === 'bytes' ? new TextDecoder().decode(input.bytes) : `<${input.kind}>`))
    .join('');

describe("the console's escape key, as QEMU's", () => {
  it('passes everything else through', () => {
    expect(show(new EscapeFilter(), 'ls\r\x03\x1a\x1b[A')).toBe('ls\r\x03\x1a\x1b[A');
  });

  it('Ctrl-A x leaves, Ctrl-A h helps, Ctrl-A Ctrl-A sends one', () => {
    expect(show(new EscapeFilter(), 'a\x01hb\x01\x01c\x01x')).toBe('a<help>b\x01c<quit>');
  });

  it('keeps the order of text and commands in one chunk', () => {
    expect(show(new EscapeFilter(), 'x\x01?y')).toBe('x<help>y');
  });

  it('remembers a Ctrl-A at the end of a chunk', () => {
    const filter = new EscapeFilter();
    expect(show(filter, 'a\x01')).toBe('a');
    expect(show(filter, 'xb')).toBe('<quit>b');
  });

  it('drops a Ctrl-A with a key that means nothing', () => {
    expect(show(new EscapeFilter(), '\x01zq')).toBe('q');
  });
});

describe('batched output', () => {
  it('writes once per turn of the event loop, in order', async () => {
    const out: string[] = [];
    const writer = new BatchedWriter((b) => out.push(new TextDecoder().decode(b)));
    for (const char of 'hello') writer.write(bytes(char));
    expect(out).toEqual([]);
    await nextTurn();
    await nextTurn();
    expect(out).toEqual(['hello']);
  });

  it('does not wait with a lot, and flushes when told', () => {
    let count = 0;
    const writer = new BatchedWriter((b) => (count += b.length));
    writer.write(new Uint8Array(100_000));
    expect(count).toBe(100_000);
    writer.write(new Uint8Array(3));
    writer.flush();
    writer.flush();
    expect(count).toBe(100_003);
  });
});

describe("a console's tail", () => {
  it('keeps the last lines and no control sequences', () => {
    const tail = new ConsoleTail(200);
    for (let i = 0; i < 100; i++) tail.write(bytes(`\x1b[31mline ${i}\x1b[0m\x07\r\r\n`));
    expect(tail.lines(2)).toEqual(['line 98', 'line 99']);
  });
});

describe('raw mode', () => {
  const terminal = () => {
    const calls: boolean[] = [];
    return { calls, isTTY: true, setRawMode: (raw: boolean) => calls.push(raw) };
  };

  it('is left when asked, once', () => {
    const input = terminal();
    const restore = enterRawMode(input, new EventEmitter());
    restore();
    restore();
    expect(input.calls).toEqual([true, false]);
  });

  it('is left when the process exits, whatever the reason', () => {
    const input = terminal();
    const events = new EventEmitter();
    enterRawMode(input, events);
    events.emit('exit');
    expect(input.calls).toEqual([true, false]);
  });

  it('is entered again when the process continues after a stop', () => {
    const input = terminal();
    const events = new EventEmitter();
    const restore = enterRawMode(input, events);
    events.emit('SIGCONT');
    expect(input.calls.at(-1)).toBe(true);
    restore();
    events.emit('SIGCONT');
    expect(input.calls.at(-1)).toBe(false);
  });

  it('does nothing without a terminal, and survives one that is gone', () => {
    enterRawMode({ isTTY: false }, new EventEmitter())();
    let gone = false;
    const input = {
      isTTY: true,
      setRawMode: () => {
        if (gone) throw new Error('EIO');
      },
    };
    const restore = enterRawMode(input, new EventEmitter());
    gone = true;
    expect(restore).not.toThrow();
  });
});
