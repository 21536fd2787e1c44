# Windows programs made on Linux: MinGW-w64's GCC with POSIX threads (the other variant has no <thread>), run by Wine.
# Set WINEPREFIX in the environment to keep Wine's files away from your own.

set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)

# The programs need no library beside them.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")

set(CMAKE_FIND_ROOT_PATH /usr/x86_64-w64-mingw32)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

find_program(IPCPP_WINE NAMES wine64 wine PATHS /usr/lib/wine)
if(IPCPP_WINE)
  set(CMAKE_CROSSCOMPILING_EMULATOR "${IPCPP_WINE}")
endif()
