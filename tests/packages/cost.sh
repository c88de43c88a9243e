#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compile time and size of the program of the consumers with the headers, with the single header and
# with the module: the table in cmake/packages/README.md.
#
#   bash tests/packages/cost.sh
#
# Needs g++ and clang++-16 and Eigen where pkg-config finds it; writes to build/cost.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=build/cost
mkdir -p "$work"
cmake -P cmake/single_header.cmake >"$work/log"
eigen=$(pkg-config --cflags eigen3 | sed 's/-I/-isystem /')
app=tests/consumers/app/main.cpp
{
  printf '#include <Eigen/Core>\nimport batchnorm;\n'
  grep -v '#include' "$app"
} >"$work/imports.cpp"

# seconds name command...: the processor time of one run.
seconds() {
  local name=$1 TIMEFORMAT='%U %S'
  shift
  { time "$@" 2>"$work/messages"; } 2>"$work/time" || { cat "$work/messages"; exit 1; }
  awk -v name="$name" '{ printf "%s: %.1f s\n", name, $1 + $2 }' "$work/time"
}
bytes() { printf '%s: %s bytes\n' "$1" "$(wc -c <"$2")"; }

seconds 'headers, g++ -O2' g++ -std=c++17 -O2 -Iinclude $eigen "$app" -o "$work/headers"
seconds 'single header, g++ -O2' g++ -std=c++17 -O2 -Ibuild/single_header $eigen "$app" -o "$work/single"
for level in -O2 -O0; do
  clang="clang++-16 -std=c++20 $level $eigen"
  seconds "headers, clang $level" $clang -Iinclude "$app" -o "$work/clang$level"
  seconds "single header, clang $level" $clang -Ibuild/single_header "$app" -o "$work/single_clang$level"
  seconds "module, its interface, clang $level" $clang -Iinclude --precompile \
    include/batchnorm/batchnorm.cppm -o "$work/batchnorm.pcm"
  seconds "module, the program, clang $level" $clang "-fmodule-file=batchnorm=$work/batchnorm.pcm" \
    "$work/imports.cpp" "$work/batchnorm.pcm" -o "$work/module$level"
done
bytes 'single header' build/single_header/batchnorm/batchnorm.hpp
bytes 'interface of the module, translated' "$work/batchnorm.pcm"
for program in headers single clang-O2 single_clang-O2 module-O2; do bytes "$program" "$work/$program"; done
