const FUNCTION_LINES = 12;

/** A C file for a compiler to work on: so many lines, always the same ones. */
export function manyLines(lines: number): string {
  let seed = 20261126;
  const below = (limit: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return (seed >>> 8) % limit;
  };
  const pick = (choices: readonly string[]): string => choices[below(choices.length)];
  const out = ['typedef unsigned int u32; typedef unsigned long long u64;'];
  for (let n = 0; out.length + FUNCTION_LINES <= lines; n++) {
    out.push(`u64 f${n}(u64 a, u64 b, double d) {`);
    for (let k = 0; k < 8; k++) {
      const first = `a ${pick(['+=', '^=', '*=', '-='])} (b >> ${1 + below(30)}) + ${below(1 << 22)}u;`;
      out.push(`  ${first} b = (b << ${1 + below(19)}) | (a ${pick(['+', '^', '&'])} ${below(99)});`);
    }
    out.push(`  for (u32 i = 0; i < (a & 15); i++) { b += a * i; if (b & ${1 << below(8)}) d = d * 0.${below(99_999)} + i; }`);
    out.push(`  return a ^ b ^ (u64)d${n > 0 ? ` ^ f${below(n)}(b, a, d)` : ''};`, '}');
  }
  while (out.length < lines) out.push(`extern u64 x${out.length};`);
  return `${out.join('\n')}\n`;
}
