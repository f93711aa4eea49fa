/**
 * Linear-address translation written down from SDM vol. 3 chapter 4, with BigInt and without any thought of speed. It shares nothing with
 * the generated code, not even constants.
 */
export type Paging = {
  mode: 'off' | '32-bit' | 'PAE' | '4-level' | '5-level';
  cr3: bigint;
  /** The PDPTE registers, in PAE mode. */
  pdpte: bigint[];
  cr0wp: boolean;
  cr4: { pse: boolean; pge: boolean; smep: boolean; smap: boolean; pke: boolean };
  nxe: boolean;
  pkru: number;
  cpuid: { maxPhyAddr: number; pse36: boolean; page1gb: boolean };
  a20Mask: bigint;
};

export type AccessDescription = { type: 'read' | 'write' | 'fetch'; user: boolean; acClear: boolean };

/** Physical memory as the walk sees it; a read where nothing is gives all ones. */
export type Physical = {
  read: (address: bigint, bytes: 4 | 8) => bigint;
  write: (address: bigint, bytes: 4 | 8, value: bigint) => void;
};

export type Outcome = { fault: number } | { address: bigint; pageBits: bigint; global: boolean };

type Used = { at: bigint; value: bigint };

const bit = (n: bigint | number): bigint => 1n << BigInt(n);
const bits = (high: number, low: number): bigint => (high < low ? 0n : (bit(high + 1) - 1n) & ~(bit(low) - 1n));
const has = (value: bigint, n: bigint | number): boolean => (value & bit(n)) !== 0n;

class Fault {
  readonly present: boolean;
  readonly reserved: boolean;
  constructor(present: boolean, reserved: boolean) {
    this.present = present;
    this.reserved = reserved;
  }
}

export function translate(
  p: Paging,
  va: bigint,
  access: AccessDescription,
  memory: Physical,
  setAccessedAndDirty: boolean,
): Outcome {
  if (p.mode === 'off') return { address: va & bits(31, 0) & p.a20Mask, pageBits: 12n, global: false };
  try {
    return walk(p, va, access, memory, setAccessedAndDirty);
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault;
    return { fault: errorCode(p, access, fault.present, fault.reserved, false) };
  }
}

/** §4.7, figure 4-12. */
function errorCode(p: Paging, access: AccessDescription, present: boolean, reserved: boolean, key: boolean): number {
  let code = 0;
  if (present) code += 1;
  if (access.type === 'write') code += 2;
  if (access.user) code += 4;
  if (reserved) code += 8;
  const pae = p.mode !== '32-bit';
  if (access.type === 'fetch' && (p.cr4.smep || (pae && p.nxe))) code += 16;
  if (key) code += 32;
  return code;
}

type Path = { used: Used[]; frame: bigint; pageBits: bigint; size: 4 | 8 };

function walk(p: Paging, va: bigint, access: AccessDescription, memory: Physical, mark: boolean): Outcome {
  const path = p.mode === '32-bit' ? path32(p, va, memory) : p.mode === 'PAE' ? pathPae(p, va, memory) : pathLong(p, va, memory);
  const leaf = path.used[path.used.length - 1].value;
  const userAddress = path.used.every(({ value }) => has(value, 2));
  const writable = path.used.every(({ value }) => has(value, 1));
  const executeDisable = path.size === 8 && path.used.some(({ value }) => has(value, 63));

  const long = p.mode === '4-level' || p.mode === '5-level';
  let keyDenies = false;
  if (long && p.cr4.pke && userAddress && access.type !== 'fetch') {
    const key = Number((leaf >> 59n) & 15n);
    const ad = (p.pkru >>> (2 * key)) & 1;
    const wd = (p.pkru >>> (2 * key + 1)) & 1;
    keyDenies = ad === 1 || (wd === 1 && access.type === 'write' && (access.user || p.cr0wp));
  }
  if (keyDenies || !allowed(p, access, { userAddress, writable, executeDisable }))
    return { fault: errorCode(p, access, true, false, keyDenies) };

  if (mark)
    path.used.forEach(({ at }, i) => {
      const wanted = bit(5) | (i === path.used.length - 1 && access.type === 'write' ? bit(6) : 0n);
      const now = memory.read(at & p.a20Mask, path.size);
      if ((now & wanted) !== wanted) memory.write(at & p.a20Mask, path.size, now | wanted);
    });
  const offset = va & (bit(path.pageBits) - 1n);
  return { address: (path.frame | offset) & p.a20Mask, pageBits: path.pageBits, global: p.cr4.pge && has(leaf, 8) };
}

/** §4.6.1, bullet by bullet. */
function allowed(
  p: Paging,
  access: AccessDescription,
  page: { userAddress: boolean; writable: boolean; executeDisable: boolean },
): boolean {
  const mayExecute = p.mode === '32-bit' || !p.nxe || !page.executeDisable;
  if (access.user) {
    if (!page.userAddress) return false;
    if (access.type === 'read') return true;
    return access.type === 'write' ? page.writable : mayExecute;
  }
  if (!page.userAddress) {
    if (access.type === 'read') return true;
    if (access.type === 'write') return !p.cr0wp || page.writable;
    return mayExecute;
  }
  if (access.type === 'fetch') return !p.cr4.smep && mayExecute;
  if (p.cr4.smap && access.acClear) return false;
  return access.type === 'read' || !p.cr0wp || page.writable;
}

function fetchEntry(p: Paging, memory: Physical, at: bigint, size: 4 | 8, reserved: (entry: bigint) => bigint): Used {
  const value = memory.read(at & p.a20Mask, size);
  if (!has(value, 0)) throw new Fault(false, false);
  if ((value & reserved(value)) !== 0n) throw new Fault(true, true);
  return { at, value };
}

/** §4.3, tables 4-3 to 4-6. */
function path32(p: Paging, va: bigint, memory: Physical): Path {
  const isPage = (pde: bigint): boolean => p.cr4.pse && has(pde, 7);
  const m = Math.min(40, p.cpuid.maxPhyAddr);
  const pde = fetchEntry(p, memory, (p.cr3 & bits(31, 12)) | (((va >> 22n) & 0x3ffn) << 2n), 4, (value) => {
    if (!isPage(value)) return 0n;
    return p.cpuid.pse36 ? bits(21, m - 19) : bits(21, 13);
  });
  if (isPage(pde.value)) {
    const frame = (pde.value & bits(31, 22)) | (((pde.value & bits(20, 13)) >> 13n) << 32n);
    return { used: [pde], frame, pageBits: 22n, size: 4 };
  }
  const pte = fetchEntry(p, memory, (pde.value & bits(31, 12)) | (((va >> 12n) & 0x3ffn) << 2n), 4, () => 0n);
  return { used: [pde, pte], frame: pte.value & bits(31, 12), pageBits: 12n, size: 4 };
}

const xdReserved = (p: Paging): bigint => (p.nxe ? 0n : bit(63));

/** §4.4, tables 4-9 to 4-11. */
function pathPae(p: Paging, va: bigint, memory: Physical): Path {
  const pdpte = p.pdpte[Number((va >> 30n) & 3n)];
  if (!has(pdpte, 0)) throw new Fault(false, false);
  const always = bits(62, p.cpuid.maxPhyAddr) | xdReserved(p);
  const pde = fetchEntry(p, memory, (pdpte & bits(51, 12)) | (((va >> 21n) & 0x1ffn) << 3n), 8, (value) =>
    has(value, 7) ? always | bits(20, 13) : always,
  );
  if (has(pde.value, 7)) return { used: [pde], frame: pde.value & bits(51, 21), pageBits: 21n, size: 8 };
  const pte = fetchEntry(p, memory, (pde.value & bits(51, 12)) | (((va >> 12n) & 0x1ffn) << 3n), 8, () => always);
  return { used: [pde, pte], frame: pte.value & bits(51, 12), pageBits: 12n, size: 8 };
}

/** §4.5, tables 4-14 to 4-20. */
function pathLong(p: Paging, va: bigint, memory: Physical): Path {
  const always = bits(51, p.cpuid.maxPhyAddr) | xdReserved(p);
  const index = (low: bigint): bigint => ((va >> low) & 0x1ffn) << 3n;
  const used: Used[] = [];
  let table = p.cr3 & bits(51, 12);
  const next = (low: bigint, reserved: (entry: bigint) => bigint): bigint => {
    const entry = fetchEntry(p, memory, table | index(low), 8, reserved);
    used.push(entry);
    table = entry.value & bits(51, 12);
    return entry.value;
  };
  if (p.mode === '5-level') next(48n, () => always | bit(7));
  next(39n, () => always | bit(7));
  const pdpte = next(30n, (value) => {
    if (!has(value, 7)) return always;
    return p.cpuid.page1gb ? always | bits(29, 13) : always | bit(7);
  });
  if (has(pdpte, 7)) return { used, frame: pdpte & bits(51, 30), pageBits: 30n, size: 8 };
  const pde = next(21n, (value) => (has(value, 7) ? always | bits(20, 13) : always));
  if (has(pde, 7)) return { used, frame: pde & bits(51, 21), pageBits: 21n, size: 8 };
  const pte = next(12n, () => always);
  return { used, frame: pte & bits(51, 12), pageBits: 12n, size: 8 };
}
