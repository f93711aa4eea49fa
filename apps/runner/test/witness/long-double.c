/* 80-bit arithmetic and its conversions to text, which use most of the x87. Lines that begin with ~ may differ a little from processor to processor. */
#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};

int main(void) {
  unsigned long long seed = 88172645463325252ull;
  for (int n = 0; n < 400; n++) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    const long double x = ldexpl((long double)(long long)seed, (int)(seed % 200) - 160);
    const long double y = fabsl(x) + 0.25L;
    fesetround(modes[n & 3]);
    feclearexcept(FE_ALL_EXCEPT);
    printf("%La %.21Lg %.3Lf %Le\n", x, x, x / 3, x * x);
    printf("  %La %La %La %La\n", sqrtl(y), x + y, x - 1 / y, fmodl(x, 0.7L));
    /* Processors differ in the last place of these. */
    printf("~ %La %La %La %La\n", sinl(x), cosl(x), tanl(x), atan2l(x, y));
    printf("~ %La %La %La %La\n", logl(y), log2l(y), expl(x / (1 + y)), powl(y, 0.3L));
    feclearexcept(FE_ALL_EXCEPT);
    printf("  %La\n", x / 7 + y);
    printf("  %La %lld %La %La\n", rintl(x), llrintl(fmodl(x, 1e15L)), remainderl(x, y / 3), scalbnl(x, n));
    printf("  %x %.17g %.9g\n", fetestexcept(FE_ALL_EXCEPT), (double)x, (float)x);
  }
  fesetround(FE_TONEAREST);
  char text[64];
  for (int n = -30; n < 30; n++) {
    snprintf(text, sizeof text, "1.%de%d", abs(n) * 7919, n * 150);
    char *end;
    const long double x = strtold(text, &end);
    printf("%s %La %.30Lg %d\n", text, x, x, (int)(end - text));
  }
  return 0;
}
