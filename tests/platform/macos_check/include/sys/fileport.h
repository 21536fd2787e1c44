// Declared for the macOS compile check only: bsd/sys/fileport.h.
#pragma once

typedef unsigned int fileport_t;
#define FILEPORT_NULL ((fileport_t)0)

extern "C" {
int fileport_makeport(int, fileport_t*);
int fileport_makefd(fileport_t);
}
