# A Debian package of the library, the tool and the documents:  cpack -G DEB  in the build folder.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ipcpp)
set(CPACK_PACKAGE_VENDOR "ipcpp")
set(CPACK_PACKAGE_CONTACT "the ipcpp maintainers <ipcpp@example.org>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Shared memory and message queues between processes")
set(CPACK_PACKAGE_DESCRIPTION
  "C++20 named modules for live data and messages between processes: segments with named\nobjects, a heap, containers, queues and locks that survive the death of any process at any\ninstruction. Holds the modules' sources and archive, the CMake package and the program ipcpp.")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES FALSE)  # the archive keeps what a consumer's debugger wants; the tool is stripped by its linker
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "cmake (>= 3.28), ninja-build")
include(CPack)
