import { describe, expect, it } from 'vitest';
import { createArena } from './arena.ts';

const create = (overheadBytes: number) => createArena({ overheadBytes, guestBytes: 0 });

describe('the arena of a virtual machine', () => {
  it('is one shared memory, so that threads can have it', () => {
    expect(create(1).memory.buffer).toBeInstanceOf(SharedArrayBuffer);
  });

  it('never hands out the first 64 KiB: address 0 is nobody', () => {
    const arena = create(0);
    expect(arena.alloc(1, 1)).toBeGreaterThanOrEqual(65_536);
  });

  it('aligns what it hands out, and hands nothing out twice', () => {
    const arena = create(1 << 20);
    const first = arena.alloc(3, 1);
    const page = arena.alloc(4096, 4096);
    const next = arena.alloc(8, 8);
    expect(page % 4096).toBe(0);
    expect(page).toBeGreaterThanOrEqual(first + 3);
    expect(next).toBe(page + 4096);
    expect(arena.used()).toBe(next + 8);
  });

  it('puts the guest above all else, so that addresses of everything else stay small', () => {
    const arena = createArena({ overheadBytes: 1 << 20, guestBytes: 3 * 2 ** 30 });
    const guest = arena.allocGuest(3 * 2 ** 30, 4096);
    const other = arena.alloc(1 << 19, 64);
    expect(guest).toBeGreaterThanOrEqual(1 << 20);
    expect(other + (1 << 19)).toBeLessThanOrEqual(guest);
    expect(arena.alloc(1 << 20, 64)).toBeGreaterThanOrEqual(guest + 3 * 2 ** 30);
  });

  it('grows when what was set aside is used up', () => {
    const arena = create(65_536);
    const before = arena.memory.buffer.byteLength;
    const address = arena.alloc(before, 64);
    expect(arena.memory.buffer.byteLength).toBeGreaterThanOrEqual(address + before);
  });

  it('refuses with ENOMEM what does not fit in 4 GiB, and goes on', () => {
    const arena = create(65_536);
    expect(() => arena.alloc(2 ** 32, 8)).toThrow(expect.objectContaining({ errno: 'ENOMEM', code: 'VMM_ENOMEM' }));
    expect(arena.alloc(8, 8)).toBe(65_536);
  });

  it('keeps the last page of 4 GiB for itself: 0xffffffff is an answer, not an address', () => {
    const arena = create(65_536);
    expect(() => arena.alloc(2 ** 32 - 65_536, 8)).toThrow(expect.objectContaining({ errno: 'ENOMEM' }));
  });

  it.each([
    [-1, 8],
    [1.5, 8],
    [8, 3],
    [8, 0],
  ])('refuses %s bytes aligned to %s with EINVAL', (bytes, align) => {
    expect(() => create(0).alloc(bytes, align)).toThrow(expect.objectContaining({ errno: 'EINVAL' }));
  });
});
