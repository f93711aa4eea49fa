/** Numbers as C's `%La` prints them, to be compared where processors may differ in the last places. */
const HEX_FLOAT = /^(-?)0x([0-9a-f])(?:\.([0-9a-f]+))?p([+-]\d+)$/;
/** Hexadecimal digits behind the point of a number with a mantissa of 64 bits. */
const DIGITS = 15;

function parse(text: string): { readonly mantissa: bigint; readonly exponent: number } | undefined {
  const [, sign, whole, fraction = '', exponent] = HEX_FLOAT.exec(text) ?? [];
  if (whole === undefined) return undefined;
  const magnitude = BigInt(`0x${whole}${fraction.padEnd(DIGITS, '0')}`);
  return { mantissa: sign === '-' ? -magnitude : magnitude, exponent: Number(exponent) };
}

/** Whether two numbers are equal to within so many units in the last place; what is no number has to be the same text. */
export function isNear(a: string, b: string, units: number): boolean {
  const [x, y] = [parse(a), parse(b)];
  if (x === undefined || y === undefined) return a === b;
  const least = Math.min(x.exponent, y.exponent);
  // Far from each other in magnitude: no number of units would do.
  if (Math.max(x.exponent, y.exponent) - least > 8) return a === b;
  const difference = (x.mantissa << BigInt(x.exponent - least)) - (y.mantissa << BigInt(y.exponent - least));
  return (difference < 0n ? -difference : difference) <= BigInt(units);
}
