// Declared for the macOS compile check only: what libc++ wants of Apple's <xlocale.h>.
#pragma once
#include <locale.h>
#include <stdio.h>
extern "C" {
long long strtoll_l(const char*, char**, int, locale_t);
unsigned long long strtoull_l(const char*, char**, int, locale_t);
float strtof_l(const char*, char**, locale_t);
double strtod_l(const char*, char**, locale_t);
long double strtold_l(const char*, char**, locale_t);
int snprintf_l(char*, size_t, locale_t, const char*, ...);
int sscanf_l(const char*, locale_t, const char*, ...);
int asprintf_l(char**, locale_t, const char*, ...);
}
