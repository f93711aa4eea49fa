/**
 * A builder for the part of AML that describes fixed devices (ACPI 6.4 §20.2). Every function returns encoded bytes, and terms
 * nest by passing bytes.
 */
import { ascii, concat, u8, u16, u32 } from './bytes.ts';

const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const PACKAGE_OP = 0x12;
const EXT_OP_PREFIX = 0x5b;
const DEVICE_OP = 0x82;
const ROOT_CHAR = 0x5c;
const UNDERSCORE = 0x5f;

/** One name segment, `\SEG` for one at the root; short ones are padded with underscores (§20.2.2). */
export function nameString(name: string): Uint8Array {
  const rooted = name.startsWith('\\');
  const segment = rooted ? name.slice(1) : name;
  if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment)) throw new RangeError(`${name} is not an AML name segment`);
  return concat([rooted ? u8(ROOT_CHAR) : u8(0).subarray(1), ascii(segment, 4, UNDERSCORE)]);
}

/** PkgLength counts itself: one byte below 64, else 4 bits and up to three more bytes (§20.2.4). */
export function withPkgLength(body: Uint8Array): Uint8Array {
  if (body.length + 1 < 0x40) return concat([u8(body.length + 1), body]);
  for (let extra = 1; extra <= 3; extra++) {
    const length = body.length + 1 + extra;
    if (length >= 1 << (4 + 8 * extra)) continue;
    const lead = (extra << 6) | (length & 0x0f);
    return concat([u8(lead), u32(length >>> 4).subarray(0, extra), body]);
  }
  throw new RangeError(`an AML package of ${body.length} bytes is too long`);
}

/** The shortest encoding of an unsigned 32-bit constant (§20.2.3). */
export function integer(value: number): Uint8Array {
  if (value === 0) return u8(ZERO_OP);
  if (value === 1) return u8(ONE_OP);
  if (value <= 0xff) return concat([u8(BYTE_PREFIX), u8(value)]);
  if (value <= 0xffff) return concat([u8(WORD_PREFIX), u16(value)]);
  return concat([u8(DWORD_PREFIX), u32(value)]);
}

export const string = (text: string): Uint8Array => concat([u8(STRING_PREFIX), ascii(text), u8(0)]);

export const name = (path: string, value: Uint8Array): Uint8Array => concat([u8(NAME_OP), nameString(path), value]);

export const scope = (path: string, terms: readonly Uint8Array[]): Uint8Array =>
  concat([u8(SCOPE_OP), withPkgLength(concat([nameString(path), ...terms]))]);

export const device = (path: string, terms: readonly Uint8Array[]): Uint8Array =>
  concat([u8(EXT_OP_PREFIX), u8(DEVICE_OP), withPkgLength(concat([nameString(path), ...terms]))]);

export const packageOf = (elements: readonly Uint8Array[]): Uint8Array =>
  concat([u8(PACKAGE_OP), withPkgLength(concat([u8(elements.length), ...elements]))]);

export const buffer = (bytes: Uint8Array): Uint8Array =>
  concat([u8(BUFFER_OP), withPkgLength(concat([integer(bytes.length), bytes]))]);

/** A compressed EISA id such as `PNP0501`: three letters of 5 bits, four hex digits, big endian (§19.3.4). */
export function eisaId(id: string): Uint8Array {
  if (!/^[A-Z]{3}[0-9A-F]{4}$/.test(id)) throw new RangeError(`${id} is not an EISA id`);
  const letter = (at: number): number => id.charCodeAt(at) - 0x40;
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = Number.parseInt(id.slice(3), 16);
  return concat([u8(DWORD_PREFIX), u8(vendor >> 8), u8(vendor), u8(product >> 8), u8(product)]);
}

/** I/O ports at a fixed place, all 16 address bits decoded (§6.4.2.5). */
export const ioPorts = (base: number, length: number): Uint8Array =>
  concat([u8(0x47), u8(0x01), u16(base), u16(base), u8(1), u8(length)]);

/** An ISA interrupt: edge-triggered, active high (§6.4.2.1, two-byte form). */
export const isaIrq = (irq: number): Uint8Array => concat([u8(0x22), u16(1 << irq)]);

/** A resource template: descriptors and the end tag, whose zero checksum means "not used" (§6.4.2.9). */
export const resourceTemplate = (descriptors: readonly Uint8Array[]): Uint8Array =>
  buffer(concat([...descriptors, u8(0x79), u8(0)]));
