// Declared for the macOS compile check only: libproc.h, bsd/sys/proc_info.h.
#pragma once
#include <stdint.h>
#include <sys/types.h>

struct proc_fileinfo {
  uint32_t fi_openflags;
  uint32_t fi_status;
  off_t fi_offset;
  int32_t fi_type;
  uint32_t fi_guardflags;
};
struct vinfo_stat {
  uint32_t vst_dev;
  uint16_t vst_mode;
  uint64_t vst_ino;
  off_t vst_size;
};
struct pshm_info {
  struct vinfo_stat pshm_stat;
  uint64_t pshm_mappaddr;
  char pshm_name[1024];
};
struct pshm_fdinfo {
  struct proc_fileinfo pfi;
  struct pshm_info pshminfo;
};
#define PROC_PIDFDPSHMINFO 5

extern "C" int proc_pidfdinfo(int pid, int fd, int flavor, void* buffer, int buffersize);
