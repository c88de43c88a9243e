#!/bin/sh
# SPDX-License-Identifier: MIT
# clang 16 with -std=gnu++20 finds no C++20 module by -fmodule-file=name=file, however the module was
# translated: "module 'm' not found". With -std=c++20 it finds the same module, and clang 19 finds it
# with either. CMake compiles with the extensions unless CMAKE_CXX_EXTENSIONS is off, so that a project
# which imports a module does not build with clang 16 until it is turned off.
#
# Version: clang 16.0.6 and 19.1.7, Debian 12 (bookworm), packages clang-16 1:16.0.6-15~deb12u1 and
#          clang-19 1:19.1.7-3~deb12u1.
#
# Output seen:
#
#   clang++-16 -std=c++20: found
#   clang++-16 -std=gnu++20: module 'm' not found
#   clang++-19 -std=c++20: found
#   clang++-19 -std=gnu++20: found
#   as stated
#
#   findings/clang_16_finds_no_named_module_with_gnu_extensions.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried, for want of clang++-16 or clang++-19.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
printf 'export module m;\nexport int f() { return 0; }\n' >m.cppm
printf 'import m;\nint main() { return f(); }\n' >main.cpp

for compiler in clang++-16 clang++-19; do
  command -v "$compiler" >/dev/null || { echo "not tried: no $compiler"; exit 2; }
  for standard in c++20 gnu++20; do
    "$compiler" -std=$standard --precompile m.cppm -o m.pcm
    said='found'
    "$compiler" -std=$standard -fmodule-file=m=m.pcm -fsyntax-only main.cpp 2>messages ||
      said=$(grep -o "module 'm' not found" messages)
    echo "$compiler -std=$standard: $said" | tee -a seen
  done
done
cat >expected <<'END'
clang++-16 -std=c++20: found
clang++-16 -std=gnu++20: module 'm' not found
clang++-19 -std=c++20: found
clang++-19 -std=gnu++20: found
END
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
