# SPDX-License-Identifier: MIT
# cmake -DPROGRAM=02_digits -DFOLDER=folder -DONNX=bool -P digits_cli.cmake
# What 02_digits says and returns when it is given wrong arguments or files, and that a saved
# network reads as it did. FOLDER is emptied and filled.
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")
set(last_line "test accuracy, one example at a time: [0-9]+[.][0-9] % [(][0-9]+ of 360[)]\n$")

# expect(exit code, regular expression for the output, regular expression for the errors, arguments)
function(expect code output_regex error_regex)
  execute_process(COMMAND "${PROGRAM}" ${ARGN} WORKING_DIRECTORY "${FOLDER}"
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE error)
  if(NOT result STREQUAL code)
    message(SEND_ERROR "02_digits ${ARGN}: expected exit code ${code}, got ${result}\n${error}")
  endif()
  if(NOT output MATCHES "${output_regex}")
    message(SEND_ERROR "02_digits ${ARGN}: expected output ${output_regex}, got\n${output}")
  endif()
  if(NOT error MATCHES "${error_regex}")
    message(SEND_ERROR "02_digits ${ARGN}: expected message ${error_regex}, got\n${error}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# ---- the command line

expect(0 "doi.org/10.24432/C50P49.*CC BY 4.0" "^$" --help)
expect(2 "^$" "unknown option --dta\n.*--help" --dta digits.csv)
expect(2 "^$" "unexpected argument \"digits.csv\"" digits.csv)
expect(2 "^$" "--data needs a value" --data)
expect(2 "^$" "--data needs a value" --data --save net.safetensors)
expect(2 "^$" "--epochs expects a whole number from 1 to 100000, got \"0\"" --epochs 0)
expect(2 "^$" "--seed expects a whole number .*, got \"-1\"" --seed -1)
expect(2 "^$" "--seed expects .*, got \"18446744073709551616\"" --seed 18446744073709551616)
expect(2 "^$" "--seed is given twice" --seed 1 --seed=2)

# ---- tables that are not the digits: file, line and column

string(REPEAT "0," 64 pixels)
string(REPEAT "${pixels}7\n" 1797 table)
function(write_table line_17 end)
  string(REPEAT "${pixels}7\n" 16 before)
  string(REPEAT "${pixels}7\n" 1780 after)
  file(WRITE "${FOLDER}/digits.csv" "${before}${line_17}\n${after}${end}")
endfunction()
function(expect_complaint line column text)
  expect(2 "^$" "02_digits: digits.csv, line ${line}, column ${column}: expected ${text}"
         --data digits.csv)
endfunction()

expect(2 "^$" "cannot open nowhere.csv: " --data nowhere.csv)
expect(2 "^$" "cannot (open|read) [.]" --data .)
file(WRITE "${FOLDER}/digits.csv" "")
expect_complaint(1 1 "1797 lines, one per image, got the end of the file after 0")
file(WRITE "${FOLDER}/digits.csv" "pixel,digit\n${table}")
expect_complaint(1 1 "a pixel, a whole number from 0 to 16, got \"pixel\"")
file(WRITE "${FOLDER}/digits.csv" "${pixels}7\n${pixels}7\n")
expect_complaint(3 1 "1797 lines, one per image, got the end of the file after 2")
write_table("${pixels}7" "${pixels}7\n")
expect_complaint(1798 1 "1797 lines, one per image, got more")
write_table("0,0,x,${pixels}7" "")
expect_complaint(17 3 "a pixel, a whole number from 0 to 16, got \"x\"")
write_table("17,${pixels}7" "")
expect_complaint(17 1 "a pixel, a whole number from 0 to 16, got \"17\"")
write_table("99999999999999999999,${pixels}7" "")
expect_complaint(17 1 "a pixel, a whole number from 0 to 16, got \"99999999999999999999\"")
write_table("${pixels}10" "")
expect_complaint(17 65 "the digit, a whole number from 0 to 9, got \"10\"")
write_table("${pixels}" "")
expect_complaint(17 65 "the digit, a whole number from 0 to 9, got nothing")
write_table("0,0,0" "")
expect_complaint(17 3 "65 values per line, got 3")
write_table("${pixels}7,7" "")
expect_complaint(17 66 "65 values per line, got more")
write_table("" "")
expect_complaint(17 1 "a pixel, a whole number from 0 to 16, got nothing")

# ---- networks: saved, loaded, refused

expect(2 "^$" "cannot save nowhere/net.safetensors: there is no folder nowhere"
       --save nowhere/net.safetensors)
if(ONNX)
  expect(0 "saved net.onnx\n${last_line}" "^$" --epochs 1 --save net.onnx)
else()
  expect(2 "^$" "cannot save net.onnx: this program was built without ONNX" --save net.onnx)
endif()
expect(0 "saved net.safetensors\n${last_line}" "^$" --epochs 2 --save net.safetensors)
string(REGEX MATCH "${last_line}" trained "${output}")
expect(0 "${last_line}" "^$" --load net.safetensors)
string(REGEX MATCH "${last_line}" loaded "${output}")
if(NOT loaded STREQUAL trained)
  message(SEND_ERROR "saved and loaded, the network reads otherwise:\n${trained}${loaded}")
endif()
expect(2 "^$" "--epochs is for training" --load net.safetensors --epochs 3)
expect(2 "^$" "nowhere.safetensors" --load nowhere.safetensors)
expect(2 "^$" "digits.csv" --load digits.csv)
