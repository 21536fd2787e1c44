# Not tested: see ../README.md. As an overlay port it takes the sources it lies in; a registry would take a release.
set(SOURCE_PATH "${CURRENT_PORT_DIR}/../..")
vcpkg_check_features(OUT_FEATURE_OPTIONS features FEATURES tool IPCPP_BUILD_TOOLS)
vcpkg_check_linkage(ONLY_STATIC_LIBRARY)
vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DIPCPP_BUILD_TESTS=OFF
    -DIPCPP_BUILD_EXAMPLES=OFF
    -DIPCPP_WARNINGS=OFF
    -DIPCPP_PLATFORM_VARIANTS=OFF
    ${features})
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/ipcpp)
if("tool" IN_LIST FEATURES)
  vcpkg_copy_tools(TOOL_NAMES ipcpp AUTO_CLEAN)
endif()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/share")
set(VCPKG_POLICY_EMPTY_INCLUDE_FOLDER enabled)  # modules, no headers
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
