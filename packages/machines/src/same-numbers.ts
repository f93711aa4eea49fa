/** Numbers that look random, and are the same in every run (xorshift32, Marsaglia 2003). */
export function sameNumbers(): { readonly fill: (out: Uint32Array<ArrayBuffer>) => void } {
  let x = 0x9e37_79b9;
  return {
    fill: (out) => {
      for (let i = 0; i < out.length; i++) {
        x ^= x << 13;
        x ^= x >>> 17;
        x ^= x << 5;
        out[i] = x;
      }
    },
  };
}
