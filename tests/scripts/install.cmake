# SPDX-License-Identifier: MIT
# cmake -DSCRIPTS=cmake -DWORK=folder -P install.cmake
# Lets install_missing() of prerequisites.cmake run where apt-get, sudo and id are stand-ins that
# write down how they are called, and nothing else is on the PATH.
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE "${WORK}")
file(WRITE "${WORK}/missing.cmake" "include(\"${SCRIPTS}/prerequisites.cmake\")
set(missing one-dev two)
install_missing()
")
set(log "${WORK}/log")

function(write_program folder name body)
  file(WRITE "${WORK}/${folder}/${name}" "#!/bin/sh\n${body}\n")
  file(CHMOD "${WORK}/${folder}/${name}" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endfunction()
write_program(apt apt-get "echo \"apt-get $*\" >>'${log}'")
# Knows no package before its lists are fetched.
write_program(apt_fresh apt-get "echo \"apt-get $*\" >>'${log}'
case $1 in
  update) : >'${WORK}/lists' ;;
  install) [ -e '${WORK}/lists' ] ;;
esac")
write_program(apt_broken apt-get "echo \"apt-get $*\" >>'${log}'; exit 100")
write_program(root id "echo 0")
write_program(user id "echo 1000")
write_program(sudo sudo "echo sudo >>'${log}'; \"$@\"")

# expect(folders of the PATH, option, what is called, what is said)
function(expect folders option calls says)
  list(TRANSFORM folders PREPEND "${WORK}/")
  list(JOIN folders ":" path)
  file(WRITE "${log}" "")
  execute_process(COMMAND "${CMAKE_COMMAND}" -E env "PATH=${path}" "${CMAKE_COMMAND}" ${option}
                          -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF -P "${WORK}/missing.cmake"
                  OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE result)
  file(READ "${log}" called)
  if(NOT result EQUAL 0 OR NOT called STREQUAL calls)
    message(SEND_ERROR "PATH=${path} ${option}: expected the calls\n${calls}got\n${called}${said}")
  endif()
  if(NOT said MATCHES "${says}")
    message(SEND_ERROR "PATH=${path} ${option}: expected to read ${says}, got\n${said}")
  endif()
endfunction()

set(install "apt-get install -y --no-install-recommends one-dev two\n")
set(named "^installing with apt-get [(]-DINSTALL=OFF does without[)]: one-dev two\n")
expect("root;apt;sudo" "" "${install}" "${named}$")
expect("root;apt;sudo" -DINSTALL=ON "${install}" "${named}$")
expect("root;apt_fresh" "" "${install}apt-get update\n${install}" "${named}$")
expect("root;apt_broken" "" "${install}apt-get update\n${install}"
       "${named}apt-get could not install them\n$")
expect("user;apt;sudo" -DINSTALL=ON "sudo\n${install}" "${named}$")

# Nothing without being asked.
set(not_installed "^missing, and not installed because .*: one-dev two\n$")
expect("root;apt;sudo" -DINSTALL=OFF "" "${not_installed}")
expect("user;apt;sudo" -DINSTALL=OFF "" "${not_installed}")
expect("user;apt;sudo" "" "" "because you are not root, and -DINSTALL=ON.*: one-dev two\n$")
expect("user;apt" -DINSTALL=ON "" "because you are not root, and sudo is not here: one-dev two\n$")
expect("root;sudo" -DINSTALL=ON "" "because apt-get is not here: one-dev two\n$")
