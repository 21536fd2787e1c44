// Declared for the macOS compile check only: mach/mach.h.
#pragma once

typedef int kern_return_t;
typedef unsigned int mach_port_t;
typedef mach_port_t mach_port_name_t;
typedef mach_port_t ipc_space_t;

extern "C" {
extern mach_port_t mach_task_self_;
kern_return_t mach_port_deallocate(ipc_space_t task, mach_port_name_t name);
}
#define mach_task_self() mach_task_self_
