#ifndef CCRC32C_H
#define CCRC32C_H

#include <stddef.h>
#include <stdint.h>

#include "CPunchHole.h"

/// Goes on with the CRC-32C (Castagnoli, reflected) of `length` bytes: no inversion before or after, as ext4 chains
/// it. The processor's instruction is used where it has one.
uint32_t ccrc32c_update(uint32_t crc, const void *bytes, size_t length);

/// The same without the processor's instruction, for a test to compare the two.
uint32_t ccrc32c_update_portable(uint32_t crc, const void *bytes, size_t length);

#endif
