// Declared for the macOS compile check only: bsd/sys/event.h.
#pragma once
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct kevent {
  uintptr_t ident;
  int16_t filter;
  uint16_t flags;
  uint32_t fflags;
  intptr_t data;
  void* udata;
};
#define EVFILT_READ (-1)
#define EVFILT_TIMER (-7)
#define EV_ADD 0x0001

extern "C" {
int kqueue(void);
int kevent(int kq, const struct kevent* changelist, int nchanges, struct kevent* eventlist,
           int nevents, const struct timespec* timeout);
}
