// Declared for the macOS compile check only: bsd/sys/sysctl.h.
#pragma once
#include <stddef.h>
#include <sys/proc.h>

struct kinfo_proc {
  struct extern_proc kp_proc;
};
#define CTL_KERN 1
#define KERN_PROC 14
#define KERN_PROC_PID 1

extern "C" int sysctl(int*, unsigned int, void*, size_t*, void*, size_t);
