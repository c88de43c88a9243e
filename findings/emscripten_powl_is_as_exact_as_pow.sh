#!/bin/sh
# SPDX-License-Identifier: MIT
# long double has 113 bits in WebAssembly as Emscripten 3.1.6 compiles it. Its sums, products and
# quotients are right to all of them, and so is sqrtl; powl is right to those of a double only: powl of
# a third and 2 differs from the product by 6e-18. A reference value that is computed with powl is not
# one for long double, so those of the tests are computed without (tests/support).
#
# Version: Emscripten 3.1.6~dfsg-5 of Debian 12.
# Source:  ISO C 7.12.7: powl computes with long double; it does not say how exactly.
#
# Output seen:
#
#   bits of a long double: 113
#   powl(x, 2) - x x is larger than 1e-18
#   sqrtl(2)^2 - 2 is smaller than 1e-33
#   as stated
#
#   findings/emscripten_powl_is_as_exact_as_pow.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Needs em++ and node.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >powl.cpp <<'END'
#include <cmath>
#include <cstdio>
int main() {
  volatile long double one = 1, three = 3, two = 2;
  const long double x = one / three, root = std::sqrt(two);
  std::printf("bits of a long double: %d\n", __LDBL_MANT_DIG__);
  std::printf("powl(x, 2) - x x is %s than 1e-18\n",
              std::fabs(std::pow(x, two) - x * x) > 1e-18L ? "larger" : "smaller");
  std::printf("sqrtl(2)^2 - 2 is %s than 1e-33\n",
              std::fabs(root * root - two) > 1e-33L ? "larger" : "smaller");
}
END
em++ -O0 -sWASM_ASYNC_COMPILATION=0 powl.cpp -o powl.js 2>log || { cat log; echo 'not tried'; exit 2; }
node powl.js | tee seen
cat >expected <<'END'
bits of a long double: 113
powl(x, 2) - x x is larger than 1e-18
sqrtl(2)^2 - 2 is smaller than 1e-33
END
if cmp -s seen expected; then echo 'as stated'; else echo 'changed'; exit 1; fi
