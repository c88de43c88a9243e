include(CMakeFindDependencyMacro)
find_dependency(batchnorm CONFIG)
include("${CMAKE_CURRENT_LIST_DIR}/downstream-targets.cmake")
