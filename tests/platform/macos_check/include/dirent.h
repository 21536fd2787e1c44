// Declared for the macOS compile check only: bsd/sys/dirent.h.
#pragma once
#include <stdint.h>

struct dirent {
  uint64_t d_ino;
  uint64_t d_seekoff;
  uint16_t d_reclen;
  uint16_t d_namlen;
  uint8_t d_type;
  char d_name[1024];
};
typedef struct apple_directory DIR;

extern "C" {
DIR* opendir(const char*);
struct dirent* readdir(DIR*);
int closedir(DIR*);
}
