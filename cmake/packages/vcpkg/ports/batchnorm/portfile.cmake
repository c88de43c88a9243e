# not run: there is no vcpkg where this tree is tested
vcpkg_check_linkage(ONLY_STATIC_LIBRARY)
vcpkg_from_git(
    OUT_SOURCE_PATH SOURCE_PATH
    URL "@REPOSITORY@"
    REF "@COMMIT@"
)

vcpkg_check_features(OUT_FEATURE_OPTIONS FEATURE_OPTIONS
    FEATURES
        compiled BATCHNORM_COMPILED
)
if(NOT "compiled" IN_LIST FEATURES)
    set(VCPKG_BUILD_TYPE release) # header-only
endif()

vcpkg_cmake_configure(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS
        ${FEATURE_OPTIONS}
        -DBATCHNORM_BUILD_EXAMPLES=OFF
        -DBATCHNORM_BUILD_TESTS=OFF
        -DBATCHNORM_KERAS=OFF
        -DBATCHNORM_ONNX=OFF
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/batchnorm)
vcpkg_fixup_pkgconfig()

file(REMOVE_RECURSE
    "${CURRENT_PACKAGES_DIR}/debug/include"
    "${CURRENT_PACKAGES_DIR}/debug/share"
    "${CURRENT_PACKAGES_DIR}/share/doc"
)
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
