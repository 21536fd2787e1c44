// Declared for the macOS compile check only: bsd/sys/stat.h, whose types are not Linux's.
#pragma once
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct stat {
  int32_t st_dev;
  uint16_t st_mode;
  uint16_t st_nlink;
  uint64_t st_ino;
  uid_t st_uid;
  gid_t st_gid;
  struct timespec st_mtimespec;
  off_t st_size;
  int64_t st_blocks;
};
#define st_mtime st_mtimespec.tv_sec
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_ISREG(mode) (((mode) & S_IFMT) == S_IFREG)
#define S_IWOTH 0000002

extern "C" {
int stat(const char*, struct stat*);
int fstat(int, struct stat*);
int fchmod(int, mode_t);
}
