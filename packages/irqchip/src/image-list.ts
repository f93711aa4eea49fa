/** Several saved parts in one array: a count, then each part's length and bytes. */
import { IrqChipError } from './errors.ts';

export function joinImages(images: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(images.reduce((sum, image) => sum + 4 + image.length, 4));
  const words = new DataView(joined.buffer);
  words.setUint32(0, images.length, true);
  let at = 4;
  for (const image of images) {
    words.setUint32(at, image.length, true);
    joined.set(image, at + 4);
    at += 4 + image.length;
  }
  return joined;
}

/** @throws IrqChipError IRQCHIP_BAD_STATE unless exactly `count` parts fill the array. */
export function splitImages(joined: unknown, count: number): Uint8Array[] {
  const fail = (what: string): never => {
    throw new IrqChipError('IRQCHIP_BAD_STATE', `saved irqchip state ${what}`);
  };
  if (!(joined instanceof Uint8Array) || joined.length < 4) return fail('is not a byte array');
  const words = new DataView(joined.buffer, joined.byteOffset, joined.length);
  if (words.getUint32(0, true) !== count) fail(`has ${words.getUint32(0, true)} parts, not ${count}`);
  const images: Uint8Array[] = [];
  let at = 4;
  for (let i = 0; i < count; i++) {
    const end = at + 4 <= joined.length ? at + 4 + words.getUint32(at, true) : Infinity;
    if (end > joined.length) return fail('is truncated');
    images.push(joined.slice(at + 4, end));
    at = end;
  }
  if (at !== joined.length) fail('has bytes after its last part');
  return images;
}
