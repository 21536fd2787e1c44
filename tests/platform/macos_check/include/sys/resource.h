// Declared for the macOS compile check only: bsd/sys/resource.h.
#pragma once
#include <stdint.h>

typedef uint64_t rlim_t;
struct rlimit {
  rlim_t rlim_cur;
  rlim_t rlim_max;
};
#define RLIM_INFINITY (((uint64_t)1 << 63) - 1)
#define RLIMIT_FSIZE 1

extern "C" int getrlimit(int, struct rlimit*);
