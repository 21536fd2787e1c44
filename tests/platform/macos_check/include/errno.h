// Declared for the macOS compile check only: without the numbers that only Linux has.
#include_next <errno.h>
#undef EUCLEAN
#undef EBADFD
#undef EREMOTEIO
#undef ENOTUNIQ
#undef EBADE
