# SPDX-License-Identifier: MIT
# cmake -DBAZEL=bazel -DBUILD_FILE=BUILD.bazel -DLIBRARY=folder -DEIGEN=folder -DAPP=main.cpp
#       -DWORK=folder -P bazel.cmake
# Builds a program with the recipe's build file and runs it. Debian's Bazel 4.2 knows no modules: a
# WORKSPACE names the repositories instead, and stand-ins replace those rules that Bazel would download,
# for its own tools too, with the ones that it still has built in.
cmake_minimum_required(VERSION 3.22)

# stand_in(repository, path of its file, names of rules...)
function(stand_in repository path)
  set(folder "${WORK}/${repository}")
  file(WRITE "${folder}/WORKSPACE" "")
  file(WRITE "${folder}/${path}" "")
  foreach(rule IN LISTS ARGN)
    file(APPEND "${folder}/${path}" "${rule} = native.${rule}\n")
  endforeach()
  get_filename_component(package "${folder}/${path}" DIRECTORY)
  file(WRITE "${package}/BUILD" "")
endfunction()
stand_in(rules_cc cc/defs.bzl cc_binary cc_library cc_proto_library cc_test cc_toolchain
         cc_toolchain_suite)
stand_in(rules_cc cc/cc_library.bzl cc_library)
stand_in(rules_java java/defs.bzl java_binary java_import java_library java_proto_library java_runtime
         java_toolchain)
stand_in(rules_proto proto/defs.bzl proto_library)

configure_file("${APP}" "${WORK}/app/main.cpp" COPYONLY)
file(WRITE "${WORK}/app/BUILD" [[
load("@rules_cc//cc:defs.bzl", "cc_binary")

cc_binary(
    name = "app",
    srcs = ["main.cpp"],
    copts = ["-std=c++17"],
    deps = ["@batchnorm"],
)
]])
file(WRITE "${WORK}/app/WORKSPACE" "
new_local_repository(name = \"batchnorm\", path = \"${LIBRARY}\", build_file = \"${BUILD_FILE}\")
new_local_repository(name = \"eigen\", path = \"${EIGEN}\", build_file_content = \"\"\"
cc_library(
    name = \"eigen\",
    hdrs = glob([\"Eigen/**\", \"unsupported/Eigen/**\"]),
    includes = [\".\"],
    visibility = [\"//visibility:public\"],
)
\"\"\")
")
foreach(rules IN ITEMS rules_cc rules_java rules_proto)
  file(APPEND "${WORK}/app/WORKSPACE"
       "local_repository(name = \"${rules}\", path = \"${WORK}/${rules}\")\n")
endforeach()

execute_process(COMMAND "${BAZEL}" --batch "--output_user_root=${WORK}/output" build
                        --spawn_strategy=local --symlink_prefix=made- //:app
                WORKING_DIRECTORY "${WORK}/app" RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "bazel ends with ${result}")
endif()
execute_process(COMMAND "${WORK}/app/made-bin/app" RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "the program ends with ${result}")
endif()
