# 64-bit Arm Linux programs made on another machine with Debian's cross compiler, run by QEMU's user emulation.

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
find_program(IPCPP_AARCH64_COMPILER NAMES aarch64-linux-gnu-g++-16 aarch64-linux-gnu-g++-15 aarch64-linux-gnu-g++)
set(CMAKE_CXX_COMPILER "${IPCPP_AARCH64_COMPILER}")

set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

find_program(IPCPP_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(IPCPP_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR "${IPCPP_QEMU};-L;/usr/aarch64-linux-gnu")
endif()
