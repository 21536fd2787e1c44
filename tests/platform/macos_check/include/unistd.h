// Declared for the macOS compile check only.
#include_next <unistd.h>
#pragma once
extern "C" int issetugid(void);
