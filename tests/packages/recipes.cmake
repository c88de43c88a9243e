# SPDX-License-Identifier: MIT
# cmake -DTREE=source -DWORK=folder -DVERSION=x.y.z -P recipes.cmake
# Fills in the recipes for an archive of this tree and looks at what comes out: nothing is left open,
# and they say the right version, address, hash and licence. Which recipes are tried, and which say
# in their first line that they are not.
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE "${WORK}")
set(commit 0123456789abcdef0123456789abcdef01234567)
set(folder "batchnorm-${VERSION}")
file(COPY "${TREE}/include" "${TREE}/LICENSE" DESTINATION "${WORK}/${folder}")
set(archive "${WORK}/${folder}.tar.gz")
execute_process(COMMAND "${CMAKE_COMMAND}" -E tar czf "${archive}" ${folder}
                WORKING_DIRECTORY "${WORK}" RESULT_VARIABLE failed)
if(NOT failed EQUAL 0)
  message(FATAL_ERROR "no archive of ${folder}")
endif()
string(REPLACE " " "%20" address "file://${archive}")
set(repository "https://example.org/batchnorm.git")

# fill_in(result, arguments...)
function(fill_in result)
  execute_process(COMMAND "${CMAKE_COMMAND}" "-DOUTPUT=${WORK}/recipes" ${ARGN}
                          -P "${TREE}/cmake/packages.cmake"
                  RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE said)
  set(${result} ${failed} PARENT_SCOPE)
endfunction()
fill_in(failed "-DREPOSITORY=${repository}" -DCOMMIT=main "-DARCHIVE=${address}")
if(failed EQUAL 0)
  message(SEND_ERROR "a branch is taken for a commit")
endif()
fill_in(failed "-DREPOSITORY=${repository}" -DCOMMIT=${commit} "-DARCHIVE=${address}")
if(NOT failed EQUAL 0)
  message(FATAL_ERROR "the recipes are not filled in")
endif()

# ---- the first line says whether a recipe is tried

set(tried "^meson/|/overlay/BUILD[.]bazel$")
file(GLOB_RECURSE recipes RELATIVE "${TREE}/cmake/packages" "${TREE}/cmake/packages/*")
list(REMOVE_ITEM recipes README.md)
foreach(recipe IN LISTS recipes)
  file(STRINGS "${TREE}/cmake/packages/${recipe}" first LIMIT_COUNT 1)
  if(recipe MATCHES "${tried}")
    if(first MATCHES "not run")
      message(SEND_ERROR "${recipe} is tried, and says: ${first}")
    endif()
  elseif(NOT first MATCHES "^(#|--|{ \"[$]comment\":) \"?not run")
    message(SEND_ERROR "${recipe} does not say in its first line that it is not run")
  endif()
  string(REPLACE "/VERSION/" "/${VERSION}/" written "${WORK}/recipes/${recipe}")
  file(READ "${written}" text)
  if(text MATCHES "@[A-Z_]+@" OR text MATCHES "not run")
    message(SEND_ERROR "${written} is not complete: ${CMAKE_MATCH_0}")
  endif()
  if(recipe MATCHES "[.]json$")
    string(JSON type ERROR_VARIABLE error TYPE "${text}")
    if(error)
      message(SEND_ERROR "${written}: ${error}")
    endif()
  endif()
endforeach()

# ---- the parts that readers of each registry look for

file(SHA256 "${archive}" sha256)
# expect(file, texts...)
function(expect file)
  file(READ "${WORK}/recipes/${file}" text)
  foreach(part IN LISTS ARGN)
    string(FIND "${text}" "${part}" at)
    if(at EQUAL -1)
      message(SEND_ERROR "${file} lacks: ${part}")
    endif()
  endforeach()
endfunction()
set(homepage "https://example.org/batchnorm\"")
expect(vcpkg/ports/batchnorm/vcpkg.json "\"version\": \"${VERSION}\"" "\"license\": \"MIT\"" "${homepage}")
expect(vcpkg/ports/batchnorm/portfile.cmake "URL \"${repository}\"" "REF \"${commit}\"")
expect(conan/recipes/batchnorm/config.yml "\"${VERSION}\":")
expect(conan/recipes/batchnorm/all/conandata.yml "\"${VERSION}\":" "\"${address}\"" "\"${sha256}\"")
expect(conan/recipes/batchnorm/all/conanfile.py "license = \"MIT\"" "${homepage}")
expect(conan/recipes/batchnorm/all/test_package/test_package.cpp "#include <batchnorm/batchnorm.hpp>")
expect(spack/packages/batchnorm/package.py "license(\"MIT\")" "version(\"${VERSION}\", commit=\"${commit}\")")
expect(xrepo/packages/b/batchnorm/xmake.lua "set_license(\"MIT\")" "add_versions(\"${VERSION}\", \"${commit}\")")
expect(meson/subprojects/batchnorm.wrap "directory = ${folder}\n" "source_hash = ${sha256}\n")
expect(meson/subprojects/packagefiles/batchnorm/meson.build "license: 'MIT'" "version: '${VERSION}'")
set(module "bazel/modules/batchnorm/${VERSION}")
expect(${module}/MODULE.bazel "version = \"${VERSION}\"")
expect(cpm/batchnorm.cmake "VERSION ${VERSION}\n" "GIT_TAG \"${commit}\"")

# ---- what other tools say: hashes in base 64, and whether the files in Python can be read

find_program(python NAMES python3 python)
if(NOT python)
  message(STATUS "left out: hashes and Python files of the recipes, because Python is not here")
  return()
endif()
file(WRITE "${WORK}/check.py" [[
import ast, base64, hashlib, json, sys

archive, module, *sources = sys.argv[1:]
def integrity(name):
    with open(name, "rb") as file:
        return "sha256-" + base64.b64encode(hashlib.sha256(file.read()).digest()).decode()
with open(module + "/source.json") as file:
    source = json.load(file)
assert source["integrity"] == integrity(archive), source
for name, value in source["overlay"].items():
    assert value == integrity(module + "/overlay/" + name), (name, value)
for name in sources:
    with open(name) as file:
        ast.parse(file.read(), name)
]])
file(GLOB_RECURSE sources "${WORK}/recipes/*.py" "${WORK}/recipes/*.bazel")
execute_process(COMMAND "${python}" "${WORK}/check.py" "${archive}" "${WORK}/recipes/${module}" ${sources}
                RESULT_VARIABLE failed)
if(NOT failed EQUAL 0)
  message(SEND_ERROR "the recipes are not what Python finds")
endif()
