#ifndef CPUNCHHOLE_H
#define CPUNCHHOLE_H

#include <stdint.h>

/// Gives back the space of a part of a file, which then reads as zeros; the file keeps its size. Returns 0, or the
/// system's error number. Here in C since fallocate(2) is not among what Swift's Glibc module shows.
int cpunch_hole(int descriptor, int64_t offset, int64_t length);

#endif
