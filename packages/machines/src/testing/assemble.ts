/** Machine code with places that have names. */

/** Bytes; a place's name with a colon; or a jump to a place, as the opcode that a 32-bit distance follows. */
export type Line = readonly number[] | `${string}:` | { readonly jump: readonly number[]; readonly to: string };

const DISTANCE = 4;

export const jump = (to: string): Line => ({ jump: [0xe9], to });
/** By the condition's code: 4 for Z, 5 for NZ. */
export const jumpIf = (condition: number, to: string): Line => ({ jump: [0x0f, 0x80 | condition], to });

export function assemble(lines: readonly Line[]): number[] {
  const places = new Map<string, number>();
  let at = 0;
  for (const line of lines) {
    if (typeof line === 'string') places.set(line.slice(0, -1), at);
    else at += 'jump' in line ? line.jump.length + DISTANCE : line.length;
  }
  const bytes: number[] = [];
  for (const line of lines) {
    if (typeof line === 'string') continue;
    if (!('jump' in line)) {
      bytes.push(...line);
      continue;
    }
    const to = places.get(line.to);
    if (to === undefined) throw new RangeError(`there is no place ${line.to}`);
    const distance = to - (bytes.length + line.jump.length + DISTANCE);
    bytes.push(...line.jump, distance & 0xff, (distance >> 8) & 0xff, (distance >> 16) & 0xff, distance >>> 24);
  }
  return bytes;
}
