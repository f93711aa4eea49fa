import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { array, defineLayout, type ScalarType } from './index.ts';

describe('defineLayout', () => {
  it('keeps the order of the fields and aligns each to the size of its scalar', () => {
    const layout = defineLayout('mixed', { a: 'u8', b: 'u16', c: 'u8', d: 'u32', e: 'u8', f: 'u64', g: array('u8', 3) });
    expect(layout.offset).toEqual({ a: 0, b: 2, c: 4, d: 8, e: 12, f: 16, g: 24 });
    expect(layout.align).toBe(8);
    expect(layout.size).toBe(32);
  });

  it('is never aligned to less than 4 bytes, so an instance can always hold an atomic word', () => {
    const layout = defineLayout('bytes', { a: 'u8' });
    expect([layout.size, layout.align]).toEqual([4, 4]);
  });

  it('refuses a size that the schema contradicts', () => {
    expect(() => defineLayout('pinned', { a: 'u32' }, { size: 8 })).toThrow('layout pinned is 4 bytes, its schema says 8');
    expect(defineLayout('pinned', { a: 'u32' }, { size: 4 }).size).toBe(4);
  });

  it.each([0, -1, 1.5])('refuses an array of %s elements', (count) => {
    expect(() => array('u8', count)).toThrow(RangeError);
  });

  it('never overlaps two fields, whatever the schema', () => {
    const bytes: Record<ScalarType, number> = { u8: 1, u16: 2, u32: 4, i32: 4, f64: 8, u64: 8 };
    const scalar = fc.constantFrom<ScalarType>('u8', 'u16', 'u32', 'i32', 'f64', 'u64');
    fc.assert(
      fc.property(fc.array(fc.tuple(scalar, fc.integer({ min: 1, max: 9 })), { minLength: 1, maxLength: 20 }), (fields) => {
        const layout = defineLayout('any', Object.fromEntries(fields.map(([of, count], i) => [`f${i}`, array(of, count)])));
        let end = 0;
        for (const [i, [of, count]] of fields.entries()) {
          const at = layout.offset[`f${i}`];
          expect(at % bytes[of]).toBe(0);
          expect(at).toBeGreaterThanOrEqual(end);
          end = at + bytes[of] * count;
        }
        expect(layout.size).toBeGreaterThanOrEqual(end);
        expect(layout.size % layout.align).toBe(0);
      }),
    );
  });
});

describe('a view', () => {
  const layout = defineLayout('chip', { id: 'u32', mode: 'u8', level: 'i32', rate: 'f64', base: 'u64', irr: array('u32', 8) });

  it('reads and writes every scalar type at its offset, little-endian as the host', () => {
    const bytes = new DataView(new ArrayBuffer(2 * layout.size));
    const view = layout.view(bytes.buffer, layout.size);
    view.id = 0xffff_fffe;
    view.mode = 0x1ff;
    view.level = -5;
    view.rate = 0.5;
    view.base = 0xfee0_0900n;
    view.irr[7] = 0x8000_0000;
    const at = (field: keyof typeof layout.offset) => layout.size + layout.offset[field];
    expect(bytes.getUint32(at('id'), true)).toBe(0xffff_fffe);
    expect(view.mode).toBe(0xff);
    expect(bytes.getInt32(at('level'), true)).toBe(-5);
    expect(bytes.getFloat64(at('rate'), true)).toBe(0.5);
    expect(bytes.getBigUint64(at('base'), true)).toBe(0xfee0_0900n);
    expect(bytes.getUint32(at('irr') + 28, true)).toBe(0x8000_0000);
    expect(new Uint8Array(bytes.buffer, 0, layout.size).every((byte) => byte === 0)).toBe(true);
  });

  it('sees what another view of the same shared buffer writes', () => {
    const memory = new SharedArrayBuffer(layout.size);
    const [one, two] = [layout.view(memory), layout.view(memory)];
    one.id = 7;
    one.irr[3] = 9;
    expect([two.id, two.irr[3]]).toEqual([7, 9]);
  });

  it('refuses an instance that is misaligned or does not fit', () => {
    expect(() => layout.view(new ArrayBuffer(layout.size + 8), 4)).toThrow('chip at 4: not aligned to 8 bytes');
    expect(() => layout.view(new ArrayBuffer(layout.size), 8)).toThrow('do not fit');
    expect(() => layout.view(new ArrayBuffer(layout.size + 64), -8)).toThrow(RangeError);
    expect(() => layout.view(new ArrayBuffer(layout.size), Number.NaN)).toThrow(RangeError);
  });
});
