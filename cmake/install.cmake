# SPDX-License-Identifier: MIT
# What `cmake --install` puts where: the headers, the CMake package, the pkg-config file. Nothing
# in them names a folder of the machine they were made on, so that the result can be moved.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cppm")

# Headers do not depend on the machine: share, not lib, and one package for every word size.
set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/batchnorm")
install(TARGETS batchnorm EXPORT batchnorm-targets
        INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
if(BATCHNORM_COMPILED)
  install(TARGETS batchnorm_compiled EXPORT batchnorm-targets
          ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()
set(modules_directory)
if(TARGET batchnorm_module)
  set(modules_directory CXX_MODULES_DIRECTORY modules)
  install(TARGETS batchnorm_module EXPORT batchnorm-targets
          ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
          FILE_SET batchnorm_modules DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
endif()
install(EXPORT batchnorm-targets NAMESPACE batchnorm:: DESTINATION "${package_dir}"
        ${modules_directory})

# The same for tools other than CMake: the Common Package Specification. CMake itself prefers that file
# to the package above, and 4.3.1 does not read the package when asked for a component that the file
# lacks (findings/cmake_does_not_read_the_package_behind_a_cps_file.sh): so only on demand.
if(BATCHNORM_CPS AND CMAKE_VERSION VERSION_LESS 4.3)
  message(FATAL_ERROR "batchnorm: BATCHNORM_CPS needs CMake 4.3, this is ${CMAKE_VERSION}")
elseif(BATCHNORM_CPS)
  install(PACKAGE_INFO batchnorm EXPORT batchnorm-targets ${modules_directory}
          DESTINATION "${CMAKE_INSTALL_DATADIR}/cps/batchnorm" DEFAULT_TARGETS batchnorm
          VERSION "${PROJECT_VERSION}" VERSION_SCHEMA simple
          COMPAT_VERSION "${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}.0"
          LICENSE MIT DEFAULT_LICENSE MIT)
endif()

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/batchnorm-config.cmake.in"
  "${PROJECT_BINARY_DIR}/batchnorm-config.cmake" INSTALL_DESTINATION "${package_dir}"
  NO_SET_AND_CHECK_MACRO)
# Until version 1 a new minor version may change names.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/batchnorm-config-version.cmake"
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/batchnorm-config.cmake"
              "${PROJECT_BINARY_DIR}/batchnorm-config-version.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/batchnorm-keras.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/batchnorm-mpi.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/batchnorm-onnx.cmake" DESTINATION "${package_dir}")

set(pkgconfig_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
file(RELATIVE_PATH up_to_prefix "/prefix/${CMAKE_INSTALL_DATADIR}/pkgconfig" /prefix)
string(REGEX REPLACE "/$" "" up_to_prefix "${up_to_prefix}")
set(pkgconfig_prefix "\${pcfiledir}/${up_to_prefix}")
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_DATADIR}")
  # Full paths say where everything lies; nothing is moved then.
  set(pkgconfig_includedir "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
  set(pkgconfig_prefix "${CMAKE_INSTALL_PREFIX}")
endif()
string(REGEX REPLACE "(.+)" " -D\\1" pkgconfig_definition "${sets_definition}")
configure_file("${CMAKE_CURRENT_LIST_DIR}/batchnorm.pc.in"
               "${PROJECT_BINARY_DIR}/batchnorm.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/batchnorm.pc"
        DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/batchnorm")
