# SPDX-License-Identifier: MIT
# Sets `version`, which is written in version.hpp and nowhere else.
file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../include/batchnorm/version.hpp" version_lines
     REGEX "^#define BATCHNORM_VERSION_[MP]")
string(REGEX REPLACE "[^0-9]*([0-9]+)[^0-9]+([0-9]+)[^0-9]+([0-9]+)" "\\1.\\2.\\3"
       version "${version_lines}")
