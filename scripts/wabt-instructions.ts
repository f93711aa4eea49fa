/** A module's instructions as wabt reads them: the oracle for printers of WebAssembly. */
import wabt from 'wabt';

/** A plain instruction, with numbers for indices, and without the alignment of accesses, which is a hint. */
export type Instruction = string;

const loaded = wabt();

/** The bits of a hexadecimal float as wabt writes it (`-0x1.8p+3`), as a number. */
function fromHex(text: string): number {
  const match = /^(-?)0x([\da-f]+)(?:\.([\da-f]*))?p([+-]\d+)$/i.exec(text);
  if (match === null) return Number(text.replace('inf', 'Infinity'));
  const [, sign, whole, fraction = '', exponent] = match;
  const value = Number.parseInt(whole + fraction, 16) * 2 ** (Number(exponent) - 4 * fraction.length);
  return sign === '' ? value : -value;
}

function normal(line: string): Instruction {
  const plain = line
    .replace(/\(;.*?;\)/g, '')
    .replace(/;;.*/, '')
    .replace(/ align=\d+/, '')
    .replace(/\s+/g, ' ')
    .trim();
  const [, name, value] = /^(f(?:32|64)\.const) (\S+)$/.exec(plain) ?? [];
  if (value === undefined) return plain;
  return `${name} ${value.startsWith('nan') ? 'nan' : Object.is(fromHex(value), -0) ? '-0' : String(fromHex(value)).replace('Infinity', 'inf')}`;
}

/** The instructions of each function that a module defines, in order, without the `end` of the function itself. */
export async function wabtInstructions(bytes: Uint8Array): Promise<Instruction[][]> {
  const { readWasm } = await loaded;
  const module = readWasm(bytes, { readDebugNames: false, threads: true, simd: true, tail_call: true, gc: true });
  try {
    return functionsOf(module.toText({ foldExprs: false, inlineExport: false }));
  } finally {
    module.destroy();
  }
}

function functionsOf(text: string): Instruction[][] {
  const functions: Instruction[][] = [];
  let current: Instruction[] | undefined;
  for (const line of text.split('\n')) {
    if (line.startsWith('  (func')) {
      current = [];
      functions.push(current);
      if (line.endsWith('))')) current = undefined;
    } else if (line.startsWith('    ') && current !== undefined) {
      if (line.trim().startsWith('(local')) continue;
      // The last instruction has the function's parenthesis behind it.
      const without = line.replace(/\(;.*?;\)/g, '');
      const open = without.split('(').length - without.split(')').length;
      current.push(normal(open < 0 ? line.replace(/\)\s*$/, '') : line));
      if (open < 0) current = undefined;
    }
  }
  return functions;
}
