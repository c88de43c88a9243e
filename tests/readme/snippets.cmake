# SPDX-License-Identifier: MIT

# is_program(file, result): whether a cpp block is a whole program.
function(is_program file result)
  file(READ "${file}" text)
  set(${result} OFF PARENT_SCOPE)
  if("\n${text}" MATCHES "\nint main\\(")
    set(${result} ON PARENT_SCOPE)
  endif()
endfunction()

# write_snippets(folder, numbers): makes of the blocks folder/n.cpp the program folder/snippets.cpp,
# which runs the block whose number it is given. All of a page stand in one program because every
# program compiles the layers it uses anew. What comments "// prints ..." announce goes to n.prints.
#
# A block gets the includes and the using that the page says it has; its own includes are added. The
# umbrella is the one for programs that link to batchnorm::compiled, which defines the same.
function(write_snippets folder numbers)
  set(includes "#include <batchnorm/compiled.hpp>\n#include <cstdlib>\n#include <iostream>\n")
  set(functions "")
  set(calls "")
  foreach(number IN LISTS numbers)
    file(READ "${folder}/${number}.cpp" text)
    string(REGEX MATCHALL "#include[^\n]*\n" own "${text}")
    string(REGEX REPLACE "#include[^\n]*\n" "" text "${text}")
    foreach(line IN LISTS own)
      string(APPEND includes "${line}")
    endforeach()
    # A list would end at a semicolon of the program.
    set(prints "")
    set(rest "${text}")
    while(rest MATCHES "// prints ([^\n]*)\n(.*)")
      string(APPEND prints "${CMAKE_MATCH_1}\n")
      set(rest "${CMAKE_MATCH_2}")
    endwhile()
    if(prints)
      file(WRITE "${folder}/${number}.prints" "${prints}")
    endif()
    string(APPEND functions "static void snippet_${number}() {\n${text}}\n\n")
    string(APPEND calls "    case ${number}: snippet_${number}(); return 0;\n")
  endforeach()
  file(WRITE "${folder}/snippets.cpp" "${includes}\nusing namespace batchnorm;\n\n${functions}"
"int main(int, char** arguments) {
  switch (std::atoi(arguments[1])) {
${calls}    default: return 1;
  }
}
")
endfunction()
