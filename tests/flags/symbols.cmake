# SPDX-License-Identifier: MIT
# cmake -DNM=nm -DPLAIN=objects -DAVX2=... -DUP_TO_AVX2=... -DBASELINE_ONLY=... -DTRAINING=...
#       -DFINE_TUNING=... -DHAS_AVX2=bool -P symbols.cmake
# Lists what each object defines: no two of them share a function of the library, and none has more
# functions with their own instruction set than it should.
cmake_minimum_required(VERSION 3.22)

# The functions and data in namespace batchnorm that `object` defines and the linker may merge.
function(list_mergeable object result)
  execute_process(COMMAND "${NM}" -C --defined-only "${object}" OUTPUT_VARIABLE lines
                  RESULT_VARIABLE failed)
  if(NOT failed EQUAL 0)
    message(FATAL_ERROR "${NM} cannot read ${object}")
  endif()
  string(REPLACE ";" "," lines "${lines}")
  string(REPLACE "[" "(" lines "${lines}")
  string(REPLACE "]" ")" lines "${lines}")
  string(REPLACE "\n" ";" lines "${lines}")
  list(TRANSFORM lines REPLACE "^[0-9a-f]+ " "")
  list(FILTER lines INCLUDE REGEX "^[WVu] .*batchnorm::v[0-9]")
  list(LENGTH lines count)
  if(count LESS 100)
    message(FATAL_ERROR "${object} defines only ${count} functions of the library")
  endif()
  set(${result} "${lines}" PARENT_SCOPE)
endfunction()

# How many of them are there once per instruction set.
function(count_sets lines wanted result)
  list(FILTER lines INCLUDE REGEX "^W .*run_(${wanted})<")
  list(LENGTH lines count)
  set(${result} ${count} PARENT_SCOPE)
endfunction()

foreach(unit IN ITEMS PLAIN AVX2 UP_TO_AVX2 BASELINE_ONLY)
  list_mergeable("${${unit}}" symbols_of_${unit})
endforeach()
foreach(unit IN ITEMS AVX2 UP_TO_AVX2 BASELINE_ONLY)
  set(shared "${symbols_of_PLAIN}")
  list(REMOVE_ITEM shared ${symbols_of_${unit}})
  list(LENGTH shared left)
  list(LENGTH symbols_of_PLAIN all)
  if(NOT left EQUAL all)
    message(SEND_ERROR "${unit} and PLAIN share functions of the library: ${left} of ${all} differ")
  endif()
endforeach()

function(expect_count symbols wanted least most)
  count_sets("${symbols_of_${symbols}}" "${wanted}" count)
  message(STATUS "${symbols}: ${count} functions for ${wanted}")
  if(count LESS least OR count GREATER most)
    message(SEND_ERROR "${symbols} has ${count} functions for ${wanted}, not ${least} to ${most}")
  endif()
endfunction()

list_mergeable("${FINE_TUNING}" symbols_of_FINE_TUNING)
set(any "avx512|avx2|avx2_unfused|baseline")
expect_count(PLAIN "${any}" 1 24)
expect_count(FINE_TUNING "${any}" 1 34)
expect_count(BASELINE_ONLY "avx512|avx2|avx2_unfused" 0 0)
expect_count(UP_TO_AVX2 avx512 0 0)
if(X86_64)
  expect_count(PLAIN avx512 1 24)
  expect_count(UP_TO_AVX2 avx2 1 24)
endif()
