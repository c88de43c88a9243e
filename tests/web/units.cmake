# SPDX-License-Identifier: MIT
# Part of cmake/web.cmake: unit tests as WebAssembly, where addresses and Index have 32 bits. Those
# that check the arguments and the arithmetic of a layer; not those that need threads, processes or
# files, and not the laws, in which software computes with long doubles of 128 bits for minutes.

set(programs view math layer)
file(GLOB sources_view "${source_dir}/tests/view/*.test.cpp")
file(GLOB sources_math "${source_dir}/tests/math/*.test.cpp")
set(sources_layer)
foreach(name IN ITEMS layer layer_numbers layer_refusals frozen state options non_finite)
  list(APPEND sources_layer "${source_dir}/tests/${name}.test.cpp")
endforeach()

file(CREATE_LINK "${eigen}/unsupported" "${BUILD_DIR}/include/unsupported" SYMBOLIC)
file(CREATE_LINK "${catch}/catch2" "${BUILD_DIR}/include/catch2" SYMBOLIC)
list(APPEND flags -O0 -msimd128 -fexceptions "-I${source_dir}/tests"
     "-DBATCHNORM_TEST_SOURCE_DIR=\"${source_dir}\"")

# As for the native programs, most of the time to compile a test goes into what it has in common with
# its neighbours: several are one translation unit. A test that sets up Eigen with a macro is alone.
set(objects "${BUILD_DIR}/units")
file(WRITE "${objects}/package.json" "{\"type\": \"commonjs\"}\n")
set(units)
# add_unit(program name files...)
function(add_unit program name)
  if(ARGC EQUAL 3)
    file(WRITE "${objects}/${name}.cpp" "#include \"${ARGN}\"\n")
    set(failed 0)
  else()
    execute_process(COMMAND "${CMAKE_COMMAND}" "-DUNIT=${objects}/${name}.cpp"
                            -P "${source_dir}/tests/support/write_unit.cmake" -- ${ARGN}
                    RESULT_VARIABLE failed)
  endif()
  if(NOT failed EQUAL 0)
    message(FATAL_ERROR "the unit ${name} could not be written")
  endif()
  set(units ${units} ${name} PARENT_SCOPE)
  set(parts_${program} ${parts_${program}} "${objects}/${name}.o" PARENT_SCOPE)
endfunction()
set(most 6)
foreach(program IN LISTS programs)
  foreach(source IN LISTS sources_${program})
    file(STRINGS "${source}" own_eigen REGEX "^#define EIGEN_")
    if(own_eigen)
      get_filename_component(name "${source}" NAME_WE)
      add_unit(${program} ${program}_${name} "${source}")
      list(REMOVE_ITEM sources_${program} "${source}")
    endif()
  endforeach()
  list(LENGTH sources_${program} count)
  math(EXPR last "${count} - 1")
  foreach(first RANGE 0 ${last} ${most})
    list(SUBLIST sources_${program} ${first} ${most} files)
    add_unit(${program} ${program}_${first} ${files})
  endforeach()
endforeach()
add_unit(main main "${source_dir}/tests/support/main.cpp")

# As many at the same time as there are processors.
while(units)
  list(LENGTH units left)
  if(left GREATER cores)
    set(left ${cores})
  endif()
  set(round)
  foreach(at RANGE 1 ${left})
    list(POP_FRONT units name)
    list(APPEND round COMMAND "${emscripten}" ${flags} -c "${objects}/${name}.cpp"
                              -o "${objects}/${name}.o")
  endforeach()
  run("the unit tests do not compile" ${round})
endwhile()

# Compiled at once: Emscripten 3.1.6 otherwise fetches the module by its path, which Node refuses.
set(link)
foreach(program IN LISTS programs)
  list(APPEND link COMMAND "${emscripten}" -fexceptions ${parts_main} ${parts_${program}}
       -o "${objects}/${program}.js" -sALLOW_MEMORY_GROWTH -sEXIT_RUNTIME -sENVIRONMENT=node
       -sWASM_ASYNC_COMPILATION=0 -sTOTAL_STACK=8MB)
endforeach()
run("the unit tests cannot be linked" ${link})
foreach(program IN LISTS programs)
  run("unit tests fail as WebAssembly" COMMAND "${node}" "${objects}/${program}.js")
endforeach()
