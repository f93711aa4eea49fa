/** A reader of ACPI tables that shares nothing with their builder: offsets are written down here once more, from the specification. */

/** The 64 KiB-aligned window of guest memory that tables were copied into. */
export type Memory = { readonly base: number; readonly bytes: Uint8Array };

export type Table = { readonly signature: string; readonly address: number; readonly view: DataView; readonly bytes: Uint8Array };

export const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
export const text = (bytes: Uint8Array, at: number, length: number): string =>
  String.fromCharCode(...bytes.subarray(at, at + length));

export function tableAt(memory: Memory, address: number): Table {
  const at = address - memory.base;
  const length = new DataView(memory.bytes.buffer).getUint32(at + 4, true);
  const bytes = memory.bytes.slice(at, at + length);
  return { signature: text(bytes, 0, 4), address, view: new DataView(bytes.buffer), bytes };
}

/** Looks for the RSDP as a system without UEFI does: every 16 bytes, signature and both checksums. */
export function findRsdp(memory: Memory): number | undefined {
  for (let at = 0; at + 36 <= memory.bytes.length; at += 16) {
    if (text(memory.bytes, at, 8) !== 'RSD PTR ') continue;
    if (sum(memory.bytes.subarray(at, at + 20)) === 0 && sum(memory.bytes.subarray(at, at + 36)) === 0) return memory.base + at;
  }
  return undefined;
}

export type AmlDevice = { readonly path: string; readonly names: Map<string, unknown> };

/** Parses the AML that a DSDT of fixed devices consists of: scopes, devices, names, constants, strings, packages, buffers. */
export function parseAml(bytes: Uint8Array): { readonly devices: AmlDevice[]; readonly names: Map<string, unknown> } {
  const devices: AmlDevice[] = [];
  const root = new Map<string, unknown>();
  let at = 0;

  const pkgEnd = (): number => {
    const start = at;
    const lead = bytes[at++];
    const extra = lead >> 6;
    let length = extra === 0 ? lead & 0x3f : lead & 0x0f;
    for (let i = 0; i < extra; i++) length += bytes[at++] * 2 ** (4 + 8 * i);
    return start + length;
  };
  const nameString = (): string => {
    const start = at;
    if (bytes[at] === 0x5c) at++;
    at += 4;
    return text(bytes, start, at - start).replace(/_+$/, '');
  };
  const little = (count: number): number => {
    let value = 0;
    for (let i = 0; i < count; i++) value += bytes[at++] * 2 ** (8 * i);
    return value;
  };
  const object = (): unknown => {
    const op = bytes[at++];
    if (op === 0x00 || op === 0x01) return op;
    if (op === 0x0a) return little(1);
    if (op === 0x0b) return little(2);
    if (op === 0x0c) return little(4);
    if (op === 0x0d) {
      const end = bytes.indexOf(0, at);
      const value = text(bytes, at, end - at);
      at = end + 1;
      return value;
    }
    if (op === 0x11) {
      const end = pkgEnd();
      const size = object() as number;
      if (end - at !== size) throw new Error(`buffer of ${end - at} bytes says ${size}`);
      at = end;
      return bytes.slice(end - size, end);
    }
    if (op === 0x12) {
      const end = pkgEnd();
      const elements = Array.from({ length: bytes[at++] }, object);
      if (at !== end) throw new Error('package does not end with its last element');
      return elements;
    }
    throw new Error(`unexpected opcode 0x${op.toString(16)}`);
  };
  const terms = (end: number, path: string, names: Map<string, unknown>): void => {
    while (at < end) {
      const op = bytes[at++];
      if (op === 0x08) names.set(nameString(), object());
      else if (op === 0x10) {
        const scopeEnd = pkgEnd();
        terms(scopeEnd, nameString(), names);
      } else if (op === 0x5b && bytes[at++] === 0x82) {
        const deviceEnd = pkgEnd();
        const child = { path: `${path}.${nameString()}`, names: new Map<string, unknown>() };
        devices.push(child);
        terms(deviceEnd, child.path, child.names);
      } else throw new Error(`unexpected opcode 0x${op.toString(16)} at ${at - 1}`);
    }
    if (at !== end) throw new Error(`${path} runs past its end`);
  };
  terms(bytes.length, '', root);
  return { devices, names: root };
}
