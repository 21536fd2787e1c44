# IPCPP_SANITIZE: which sanitizers the whole build uses ("address,undefined", "thread", empty for none).
#
# The flags are given to every target of the directory that calls ipcpp_sanitize() and below it, before the first target:
# a module's compiled interface can only be imported by code that was compiled with the same sanitizers.

set(IPCPP_SANITIZE "" CACHE STRING "Sanitizers for everything that is built, as for -fsanitize=")
set_property(CACHE IPCPP_SANITIZE PROPERTY STRINGS "" "address,undefined" "thread")

macro(ipcpp_sanitize)
  if(IPCPP_SANITIZE)
    if(MSVC)
      if(NOT IPCPP_SANITIZE STREQUAL "address")
        message(FATAL_ERROR "MSVC has only IPCPP_SANITIZE=address")
      endif()
      add_compile_options(/fsanitize=address)
    else()
      # Every finding ends the program, so that a test cannot pass over one.
      add_compile_options(-fsanitize=${IPCPP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
      add_link_options(-fsanitize=${IPCPP_SANITIZE})
      if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
        add_compile_options(-fsanitize-ignorelist=${PROJECT_SOURCE_DIR}/cmake/sanitizer_ignore.txt)
      endif()
    endif()
  endif()
endmacro()
