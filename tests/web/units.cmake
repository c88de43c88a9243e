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
# Compiled longest, and nothing in it is about addresses.
list(REMOVE_ITEM sources_math "${source_dir}/tests/math/masked.test.cpp")

file(CREATE_LINK "${eigen}/unsupported" "${BUILD_DIR}/include/unsupported" SYMBOLIC)
file(CREATE_LINK "${catch}/catch2" "${BUILD_DIR}/include/catch2" SYMBOLIC)
list(APPEND flags -O0 -msimd128 -fexceptions "-I${source_dir}/tests"
     "-DBATCHNORM_TEST_SOURCE_DIR=\"${source_dir}\"")

# Files of one round are compiled at the same time.
set(objects "${BUILD_DIR}/units")
file(WRITE "${objects}/package.json" "{\"type\": \"commonjs\"}\n")
set(round)
set(in_round 0)
function(compile_round)
  if(round)
    run("the unit tests do not compile" ${round})
  endif()
endfunction()
foreach(source IN LISTS sources_layer sources_math sources_view
        ITEMS "${source_dir}/tests/support/main.cpp")
  file(RELATIVE_PATH name "${source_dir}/tests" "${source}")
  string(MAKE_C_IDENTIFIER "${name}" name)
  list(APPEND round COMMAND "${emscripten}" ${flags} -c "${source}" -o "${objects}/${name}.o")
  math(EXPR in_round "${in_round} + 1")
  if(in_round EQUAL cores)
    compile_round()
    set(round)
    set(in_round 0)
  endif()
endforeach()
compile_round()

# Compiled at once: Emscripten 3.1.6 otherwise fetches the module by its path, which Node refuses.
set(link)
foreach(program IN LISTS programs)
  set(parts "${objects}/support_main_cpp.o")
  foreach(source IN LISTS sources_${program})
    file(RELATIVE_PATH name "${source_dir}/tests" "${source}")
    string(MAKE_C_IDENTIFIER "${name}" name)
    list(APPEND parts "${objects}/${name}.o")
  endforeach()
  list(APPEND link COMMAND "${emscripten}" -fexceptions ${parts} -o "${objects}/${program}.js"
       -sALLOW_MEMORY_GROWTH -sEXIT_RUNTIME -sENVIRONMENT=node -sWASM_ASYNC_COMPILATION=0
       -sTOTAL_STACK=8MB)
endforeach()
run("the unit tests cannot be linked" ${link})
foreach(program IN LISTS programs)
  run("unit tests fail as WebAssembly" COMMAND "${node}" "${objects}/${program}.js")
endforeach()
