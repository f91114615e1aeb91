#include "line_output.h"

#include <stdio.h>

// Before any test: what a program prints into a pipe would otherwise wait for 4 KiB more, and of a test that hangs nobody
// would read that it has begun.
__attribute__((constructor)) static void print_line_by_line(void) {
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
    setvbuf(stderr, NULL, _IOLBF, 1 << 16);
}
