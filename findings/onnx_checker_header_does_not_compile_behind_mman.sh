#!/bin/sh
# SPDX-License-Identifier: MIT
# <onnx/checker.h>, the header of ONNX's own model checker, does not compile behind <sys/mman.h>: by
# way of others it includes the parser of ONNX's text format, which has an enumerator MAP_TYPE, and
# the system header defines a macro of that name (a mask for mmap's flags). A program that maps files
# into memory and checks models has to include ONNX first, or to undefine the macro; the compiler's
# message points to the system header.
#
# Version: ONNX 1.12.0, Debian 12 (bookworm), package libonnx-dev 1.12.0-2+b4, with libprotobuf-dev
#          3.21.12-3+deb12u1; glibc 2.36.
# Source:  onnx/defs/parser.h, class KeyWordMap; glibc's bits/mman-linux.h.
#
# Output seen:
#
#   checker.h alone: compiles
#   checker.h, then sys/mman.h: compiles
#   sys/mman.h, then checker.h: does not compile, and names MAP_TYPE
#   sys/mman.h, #undef MAP_TYPE, checker.h: compiles
#   as stated
#
#   findings/onnx_checker_header_does_not_compile_behind_mman.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks both packages into a temporary folder; needs Debian 12, apt-get and c++.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

for package in libonnx-dev=1.12.0-2+b4 libprotobuf-dev=3.21.12-3+deb12u1; do
  apt-get download "$package" >/dev/null 2>&1 || cannot_try "no $package"
done
for file in *.deb; do dpkg-deb -x "$file" unpacked; done

compiles() {
  printf "$1int main() {}\n" >program.cpp
  c++ -std=c++17 -DONNX_NAMESPACE=onnx -DONNX_ML=1 -isystem unpacked/usr/include -fsyntax-only \
    program.cpp >messages 2>&1
}
changed() {
  echo "changed: $1"
  exit 1
}

checker='#include <onnx/checker.h>\n'
mman='#include <sys/mman.h>\n'
compiles "$checker" || changed 'checker.h alone does not compile'
echo 'checker.h alone: compiles'
compiles "$checker$mman" || changed 'checker.h, then sys/mman.h: does not compile'
echo 'checker.h, then sys/mman.h: compiles'
if compiles "$mman$checker"; then changed 'sys/mman.h, then checker.h: compiles'; fi
grep -q MAP_TYPE messages || changed 'the message does not name MAP_TYPE'
echo 'sys/mman.h, then checker.h: does not compile, and names MAP_TYPE'
compiles "$mman#undef MAP_TYPE\n$checker" || changed 'not even without the macro'
echo 'sys/mman.h, #undef MAP_TYPE, checker.h: compiles'
echo 'as stated'
