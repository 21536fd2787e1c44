# GoogleTest and Catch2 for ipcpp's own tests and benchmarks; never installed, never needed by users of the library.
#
#   ipcpp_find_googletest()   gives GTest::gtest, GTest::gtest_main, GTest::gmock
#   ipcpp_find_catch2()       gives Catch2::Catch2WithMain
#
# Both look, in this order, for
#   1. the compiled package of the machine; only when we build for this machine with libstdc++, which is what
#      distributions compile it with (a library compiled against another standard library does not link);
#   2. its sources on the machine: IPCPP_GOOGLETEST_SOURCE (Debian's package googletest), IPCPP_CATCH2_SOURCE (put there
#      by ./dev setup);
#   3. the upstream release, downloaded and checked against its SHA256.
# What is compiled here is not scanned for modules, and its warnings are its own.

include_guard(GLOBAL)
include(CheckCXXSourceCompiles)
include(FetchContent)
find_package(Threads REQUIRED)

if(DEFINED ENV{IPCPP_CACHE})
  set(_ipcpp_cache "$ENV{IPCPP_CACHE}")
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(_ipcpp_cache "$ENV{XDG_CACHE_HOME}/ipcpp")
else()
  set(_ipcpp_cache "$ENV{HOME}/.cache/ipcpp")
endif()
set(IPCPP_GOOGLETEST_SOURCE "/usr/src/googletest" CACHE PATH "GoogleTest's sources, when they are on the machine")
set(IPCPP_CATCH2_SOURCE "${_ipcpp_cache}/sources/catch2" CACHE PATH "Catch2's sources, when they are on the machine")

FetchContent_Declare(ipcpp_googletest
  URL https://github.com/google/googletest/releases/download/v1.15.2/googletest-1.15.2.tar.gz
  URL_HASH SHA256=7b42b4d6ed48810c5362c265a17faebe90dc2373c885e5216439d37927f02926
  DOWNLOAD_EXTRACT_TIMESTAMP OFF
  SOURCE_SUBDIR this-folder-does-not-exist  # the sources only, see below
)
FetchContent_Declare(ipcpp_catch2
  URL https://github.com/catchorg/Catch2/archive/refs/tags/v3.7.1.tar.gz
  URL_HASH SHA256=c991b247a1a0d7bb9c39aa35faf0fe9e19764213f28ffba3109388e62ee0269c
  DOWNLOAD_EXTRACT_TIMESTAMP OFF
  SOURCE_SUBDIR this-folder-does-not-exist
)

# Sets `result` to whether compiled C++ libraries of this machine fit the build.
function(_ipcpp_machine_libraries_fit result)
  check_cxx_source_compiles("
    #include <version>
    #if defined(_LIBCPP_VERSION) || !defined(__GLIBCXX__)
    #error not libstdc++
    #endif
    int main() {}" IPCPP_USES_LIBSTDCXX)
  if(IPCPP_USES_LIBSTDCXX AND NOT CMAKE_CROSSCOMPILING AND NOT IPCPP_SANITIZE)
    set(${result} TRUE PARENT_SCOPE)
  else()
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()

# Sets `result` to the folder with the sources: `given` if it has `file`, a checked download otherwise.
function(_ipcpp_sources result given file name)
  if(EXISTS "${given}/${file}")
    set(${result} "${given}" PARENT_SCOPE)
  else()
    message(STATUS "${name}: no sources at ${given}, downloading the upstream release")
    FetchContent_MakeAvailable(${name})
    set(${result} "${${name}_SOURCE_DIR}" PARENT_SCOPE)
  endif()
endfunction()

function(_ipcpp_foreign_target target)
  set_target_properties(${target} PROPERTIES CXX_SCAN_FOR_MODULES OFF CXX_CLANG_TIDY "" EXCLUDE_FROM_ALL ON)
  if(MSVC)
    target_compile_options(${target} PRIVATE /w)
  else()
    target_compile_options(${target} PRIVATE -w)
  endif()
endfunction()

# One source file is all there is to compile of each part, so GoogleTest's own CMake project (which would want a C
# compiler too) is not needed.
function(_ipcpp_googletest_part name folder file)
  add_library(ipcpp_${name} STATIC EXCLUDE_FROM_ALL "${source}/${folder}/src/${file}")
  add_library(GTest::${name} ALIAS ipcpp_${name})
  target_compile_features(ipcpp_${name} PUBLIC cxx_std_20)
  target_include_directories(ipcpp_${name} PRIVATE "${source}/${folder}")
  target_include_directories(ipcpp_${name} SYSTEM PUBLIC "${source}/${folder}/include")
  target_link_libraries(ipcpp_${name} PUBLIC Threads::Threads ${ARGN})
  _ipcpp_foreign_target(ipcpp_${name})
endfunction()

function(ipcpp_find_googletest)
  if(TARGET GTest::gtest)
    return()
  endif()
  _ipcpp_machine_libraries_fit(fit)
  if(fit)
    find_package(GTest QUIET GLOBAL)
    if(GTest_FOUND)
      message(STATUS "GoogleTest: the machine's package ${GTest_VERSION}")
      return()
    endif()
  endif()
  _ipcpp_sources(source "${IPCPP_GOOGLETEST_SOURCE}" googletest/src/gtest-all.cc ipcpp_googletest)
  message(STATUS "GoogleTest: compiled from ${source}")
  _ipcpp_googletest_part(gtest googletest gtest-all.cc)
  _ipcpp_googletest_part(gtest_main googletest gtest_main.cc ipcpp_gtest)
  _ipcpp_googletest_part(gmock googlemock gmock-all.cc ipcpp_gtest)
endfunction()

function(ipcpp_find_catch2)
  if(TARGET Catch2::Catch2WithMain)
    return()
  endif()
  _ipcpp_machine_libraries_fit(fit)
  if(fit)
    find_package(Catch2 3 QUIET GLOBAL)
    if(Catch2_FOUND)
      message(STATUS "Catch2: the machine's package ${Catch2_VERSION}")
      return()
    endif()
  endif()
  _ipcpp_sources(source "${IPCPP_CATCH2_SOURCE}" src/catch2/catch_all.hpp ipcpp_catch2)
  message(STATUS "Catch2: compiled from ${source}")
  set(CATCH_INSTALL_DOCS OFF)
  set(CATCH_INSTALL_EXTRAS OFF)
  set(CMAKE_CXX_SCAN_FOR_MODULES OFF)
  add_subdirectory("${source}" "${CMAKE_BINARY_DIR}/catch2" EXCLUDE_FROM_ALL SYSTEM)
  _ipcpp_foreign_target(Catch2)
  _ipcpp_foreign_target(Catch2WithMain)
endfunction()
