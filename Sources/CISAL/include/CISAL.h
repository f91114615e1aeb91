#ifndef CISAL_H
#define CISAL_H

#include <stddef.h>
#include <stdint.h>

// The inflater of ISA-L, loaded when it is first asked for: a program that uses this starts, and has to use something
// else, where the library is missing.

/// The file that the library was loaded from, as it was asked for; NULL where there is none. For any thread.
const char *cisal_library(void);

/// The body of one gzip member: deflated data and the trailer, whose checksum and size are verified.
typedef struct cisal_inflater cisal_inflater;

/// NULL where there is no library or no memory.
cisal_inflater *cisal_inflater_create(void);
void cisal_inflater_destroy(cisal_inflater *inflater);

/// Prepares for a member of which nothing is read but the header.
void cisal_inflater_begin(cisal_inflater *inflater);

enum cisal_status {
    CISAL_MORE = 0,  // wants more input, or more room for output
    CISAL_END = 1,   // the member ended, and its trailer is right
    CISAL_BAD_BLOCK = -1,
    CISAL_BAD_SYMBOL = -2,
    CISAL_BAD_DISTANCE = -3,
    CISAL_BAD_CHECKSUM = -4,
    CISAL_FAILED = -5,
};

/// Inflates what it can. On return the counts say how much of either buffer was used.
enum cisal_status cisal_inflate(cisal_inflater *inflater, const uint8_t *input, size_t *input_count, uint8_t *output,
                                size_t *output_count);

#endif
