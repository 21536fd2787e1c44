// Declared for the macOS compile check only: bsd/sys/proc.h.
#pragma once
#include <sys/time.h>
#include <sys/types.h>

struct extern_proc {
  union {
    struct timeval __p_starttime;
  } p_un;
#define p_starttime p_un.__p_starttime
  char p_stat;
  pid_t p_pid;
};
#define SZOMB 5
