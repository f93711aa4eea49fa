import { describe, expect, it, vi } from 'vitest';
import { EVENTFD_LAYOUT, EventFd, EventFdError } from './index.ts';

const HIGHEST = 2n ** 64n - 2n;
const code = (code: string): object => expect.objectContaining({ name: 'EventFdError', code }) as object;
const plainMemory = (): { buffer: ArrayBuffer; byteOffset: number } => ({
  buffer: new ArrayBuffer(EVENTFD_LAYOUT.size),
  byteOffset: 0,
});
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

describe('eventfd(2)', () => {
  it('read returns the sum of what was written, and leaves zero', () => {
    const fd = EventFd.create({ initial: 3 });
    fd.write(4);
    fd.signal();
    expect(fd.read()).toBe(8n);
    expect(fd.tryRead()).toBeUndefined();
  });
  it('EFD_SEMAPHORE: read returns 1 and takes 1', () => {
    const fd = EventFd.create({ initial: 2, semaphore: true });
    expect([fd.read(), fd.read(), fd.tryRead()]).toEqual([1n, 1n, undefined]);
  });
  it('EFD_NONBLOCK: read of zero, and write without room, fail with EAGAIN', () => {
    const fd = EventFd.create({ nonBlocking: true });
    expect(() => fd.read()).toThrow(code('EVENTFD_AGAIN'));
    fd.write(HIGHEST);
    expect(() => fd.write(1)).toThrow(code('EVENTFD_AGAIN'));
    expect(fd.read()).toBe(HIGHEST);
  });
  it('the counter goes up to 2^64 − 2: a write beyond it changes nothing', () => {
    const fd = EventFd.create({ initial: HIGHEST - 1n });
    expect(fd.tryWrite(2)).toBe(false);
    expect(fd.tryWrite(1)).toBe(true);
    expect(fd.tryWrite(1)).toBe(false);
    expect(fd.tryWrite(0)).toBe(true);
    expect(fd.read()).toBe(HIGHEST);
  });
  it('a signal from the kernel overflows at 2^64 − 1, which poll reports and read returns', () => {
    const fd = EventFd.create({ initial: HIGHEST });
    expect(fd.overflowed).toBe(false);
    fd.signal(5);
    fd.signal(HIGHEST);
    expect(fd.overflowed).toBe(true);
    expect(fd.read()).toBe(2n ** 64n - 1n);
    expect(fd.overflowed).toBe(false);
  });
  it('poll: readable above zero, writable below 2^64 − 2', () => {
    const fd = EventFd.create();
    expect([fd.readable, fd.writable]).toEqual([false, true]);
    fd.signal();
    expect([fd.readable, fd.writable]).toEqual([true, true]);
    fd.write(HIGHEST - 1n);
    expect([fd.readable, fd.writable]).toEqual([true, false]);
  });
  it('EINVAL: 2^64 − 1 and what is not a count', () => {
    for (const bad of [HIGHEST + 1n, -1, 1.5, Number.NaN, 2 ** 53, -1n]) {
      const fd = EventFd.create();
      for (const call of [
        () => EventFd.create({ initial: bad }),
        () => fd.signal(bad),
        () => fd.write(bad),
        () => fd.tryWrite(bad),
      ])
        expect(call, String(bad)).toThrow(code('EVENTFD_INVALID'));
      expect(fd.readable).toBe(false);
    }
  });
});

describe('waiting in async code', () => {
  for (const [name, memory] of [
    ['shared memory', undefined],
    ['memory of one thread', plainMemory],
  ] as const) {
    const create = (options: { initial?: bigint; semaphore?: boolean } = {}): EventFd =>
      EventFd.create(memory ? { ...options, memory: memory() } : options);

    describe(name, () => {
      it('a reader sleeps until there is something', async () => {
        const fd = create();
        const read = fd.readAsync();
        fd.signal(7);
        expect(await read).toBe(7n);
      });
      it('a writer sleeps until there is room', async () => {
        const fd = create({ initial: HIGHEST });
        const written = fd.writeAsync(5);
        await turn();
        expect(fd.tryRead()).toBe(HIGHEST);
        await written;
        expect(fd.tryRead()).toBe(5n);
      });
      it('a semaphore lets as many readers go as it was signalled', async () => {
        const fd = create({ semaphore: true });
        let passed = 0;
        const readers = Array.from({ length: 5 }, () => fd.readAsync().then(() => passed++));
        fd.signal(2);
        for (let turns = 0; turns < 20; turns++) await turn();
        expect(passed).toBe(2);
        fd.signal(3);
        await Promise.all(readers);
        expect(fd.readable).toBe(false);
      });
      it('signals before the reader comes are one wake-up', async () => {
        const fd = create();
        for (let i = 0; i < 1000; i++) fd.signal();
        expect(await fd.readAsync()).toBe(1000n);
      });
      it('the time is over', async () => {
        const fd = create();
        await expect(fd.readAsync({ timeoutMs: 5 })).rejects.toThrow(code('EVENTFD_TIMEOUT'));
        fd.signal();
        expect(await fd.readAsync({ timeoutMs: 5 })).toBe(1n);
      });
      it('an abort ends one reader, and not the others', async () => {
        const fd = create();
        const control = new AbortController();
        const aborted = fd.readAsync({ signal: control.signal });
        const other = fd.readAsync();
        control.abort(new Error('enough'));
        await expect(aborted).rejects.toThrow('enough');
        await expect(fd.readAsync({ signal: control.signal })).rejects.toThrow('enough');
        fd.signal(2);
        expect(await other).toBe(2n);
      });
      it('close ends everybody, after what was signalled is read', async () => {
        const fd = create();
        const waiting = [fd.readAsync(), fd.readAsync()];
        fd.close();
        for (const read of waiting) await expect(read).rejects.toThrow(code('EVENTFD_CLOSED'));
        expect(fd.closed).toBe(true);
        fd.signal(3);
        expect(await fd.readAsync()).toBe(3n);
        expect(() => fd.read()).toThrow(code('EVENTFD_CLOSED'));
      });
      it('for await gives what is read, until the eventfd is closed', async () => {
        const fd = create({ initial: 2n });
        const seen: bigint[] = [];
        for await (const count of fd) {
          seen.push(count);
          if (seen.length === 1) setTimeout(() => fd.signal(5), 1);
          else fd.close();
        }
        expect(seen).toEqual([2n, 5n]);
      });
    });
  }
  it('blocking where the thread must not is refused', () => {
    const wait = vi.spyOn(Atomics, 'wait').mockImplementation(() => {
      throw new TypeError('Atomics.wait cannot be called in this context');
    });
    expect(() => EventFd.create().read()).toThrow(code('EVENTFD_CANNOT_BLOCK'));
    wait.mockRestore();
  });
  it('blocking on memory that no other thread has is refused', () => {
    const fd = EventFd.create({ memory: plainMemory() });
    expect(() => fd.read()).toThrow(code('EVENTFD_CANNOT_BLOCK'));
    expect(() => fd.read({ timeoutMs: 1 })).toThrow(code('EVENTFD_CANNOT_BLOCK'));
  });
});

describe('where it is', () => {
  it('several lie in one memory and do not disturb one another', () => {
    const buffer = new SharedArrayBuffer(3 * EVENTFD_LAYOUT.size);
    const fds = [0, 1, 2].map((i) => EventFd.create({ initial: i, memory: { buffer, byteOffset: i * EVENTFD_LAYOUT.size } }));
    fds[1].signal(10);
    fds[0].close();
    expect(fds.map((fd) => fd.tryRead())).toEqual([undefined, 11n, 2n]);
    expect(fds.map((fd) => fd.closed)).toEqual([true, false, false]);
  });
  it('memory that is too small or not aligned is refused', () => {
    const buffer = new SharedArrayBuffer(2 * EVENTFD_LAYOUT.size);
    for (const byteOffset of [-64, 8, 0.5, Number.NaN, EVENTFD_LAYOUT.size + 64])
      expect(() => EventFd.open({ buffer, byteOffset, semaphore: false, nonBlocking: false }), String(byteOffset)).toThrow(
        EventFdError,
      );
  });
});
