/** What an 8254 counter shows after so many input clocks: pure functions of mode, count and ticks. 8254 "Mode definitions" */

/** Input clock of a PC: a twelfth of 14.31818 MHz, in Hz. */
export const PIT_HZ = 1_193_182;
export const NS_PER_TICK = 1e9 / PIT_HZ;

const modulus = (bcd: boolean): number => (bcd ? 10_000 : 0x1_0000);

/** Count of a written register value: 0 stands for the largest count. */
export function fromRegister(register: number, bcd: boolean): number {
  if (!bcd) return register || 0x1_0000;
  const count = (register >> 12) * 1000 + ((register >> 8) & 15) * 100 + ((register >> 4) & 15) * 10 + (register & 15);
  return count % 10_000 || 10_000;
}

/** The 16 bits that show `count`. */
export function toRegister(count: number, bcd: boolean): number {
  if (!bcd) return count & 0xffff;
  const c = count % 10_000;
  return (Math.floor(c / 1000) << 12) | ((Math.floor(c / 100) % 10) << 8) | ((Math.floor(c / 10) % 10) << 4) | (c % 10);
}

/** The counting element's value `d` ticks after it took `count`. */
export function countAt(mode: number, count: number, d: number, counting: boolean, bcd: boolean): number {
  if (count === 0) return 0;
  if (mode === 2) return count - (d % count);
  if (mode === 3) return squareCount(count, d % count);
  if (!counting) return count;
  const m = modulus(bcd);
  return (((count - d) % m) + m) % m;
}

/** Mode 3 counts down by two; an odd count loads count − 1 and keeps the high half one tick longer. */
function squareCount(count: number, phase: number): number {
  if (count % 2 === 0) return count - 2 * (phase % (count / 2));
  const high = (count + 1) / 2;
  return count - 1 - 2 * (phase < high ? phase : phase - high);
}

/** Level of OUT `d` ticks after the counter took `count`. */
export function outputAt(mode: number, count: number, d: number, loaded: boolean, counting: boolean): 0 | 1 {
  switch (mode) {
    case 0:
      return loaded && d >= count ? 1 : 0;
    case 1:
      return counting && d < count ? 0 : 1;
    case 2:
      return counting && d % count === count - 1 ? 0 : 1;
    case 3:
      return counting && d % count >= Math.ceil(count / 2) ? 0 : 1;
    default:
      return counting && d === count ? 0 : 1;
  }
}

/** Tick of the next rising edge of an output whose gate stays open, after `driven` edges; -1 when none will come. */
export function nextEdgeTick(mode: number, count: number, driven: number): number {
  switch (mode) {
    case 0:
      return driven > 0 ? -1 : count;
    case 2:
    case 3:
      return (driven + 1) * count;
    case 4:
      return driven > 0 ? -1 : count + 1;
    default:
      return -1;
  }
}
