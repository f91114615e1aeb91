#define _GNU_SOURCE

#include "CISAL.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <isa-l/igzip_lib.h>

// The name carries the version of the binary interface, which is what the header above describes.
#define LIBRARY "libisal.so.2"

static struct {
    const char *path;
    void (*init)(struct inflate_state *);
    void (*reset)(struct inflate_state *);
    int (*inflate)(struct inflate_state *);
} library;

static char beside[4096];

/// Beside the program: where the library is brought along to a machine that has none of its own.
static const char *path_beside_program(void) {
    ssize_t count = readlink("/proc/self/exe", beside, sizeof beside - sizeof "/" LIBRARY);
    if (count <= 0 || (size_t)count >= sizeof beside - sizeof "/" LIBRARY) return NULL;
    beside[count] = 0;
    char *slash = strrchr(beside, '/');
    if (!slash) return NULL;
    memcpy(slash, "/" LIBRARY, sizeof "/" LIBRARY);
    return access(beside, R_OK) == 0 ? beside : NULL;
}

static void load(void) {
    const char *path = path_beside_program();
    void *handle = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!handle) {
        path = LIBRARY;
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (!handle) return;
    library.init = (void (*)(struct inflate_state *))dlsym(handle, "isal_inflate_init");
    library.reset = (void (*)(struct inflate_state *))dlsym(handle, "isal_inflate_reset");
    library.inflate = (int (*)(struct inflate_state *))dlsym(handle, "isal_inflate");
    if (!library.init || !library.reset || !library.inflate) {
        dlclose(handle);
        return;
    }
    library.path = path;
}

const char *cisal_library(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return library.path;
}

struct cisal_inflater {
    struct inflate_state state;
};

cisal_inflater *cisal_inflater_create(void) {
    if (!cisal_library()) return NULL;
    cisal_inflater *inflater = calloc(1, sizeof *inflater);
    if (inflater) library.init(&inflater->state);
    return inflater;
}

void cisal_inflater_destroy(cisal_inflater *inflater) { free(inflater); }

void cisal_inflater_begin(cisal_inflater *inflater) {
    library.reset(&inflater->state);
    inflater->state.crc_flag = ISAL_GZIP_NO_HDR_VER;
}

enum cisal_status cisal_inflate(cisal_inflater *inflater, const uint8_t *input, size_t *input_count, uint8_t *output,
                                size_t *output_count) {
    struct inflate_state *state = &inflater->state;
    uint32_t offered = *input_count > UINT32_MAX ? UINT32_MAX : (uint32_t)*input_count;
    uint32_t room = *output_count > UINT32_MAX ? UINT32_MAX : (uint32_t)*output_count;
    state->next_in = (uint8_t *)input;
    state->avail_in = offered;
    state->next_out = output;
    state->avail_out = room;
    int status = library.inflate(state);
    *input_count = offered - state->avail_in;
    *output_count = room - state->avail_out;
    switch (status) {
        case ISAL_DECOMP_OK:
        case ISAL_END_INPUT:
        case ISAL_OUT_OVERFLOW: break;
        case ISAL_INVALID_BLOCK: return CISAL_BAD_BLOCK;
        case ISAL_INVALID_SYMBOL: return CISAL_BAD_SYMBOL;
        case ISAL_INVALID_LOOKBACK: return CISAL_BAD_DISTANCE;
        case ISAL_INCORRECT_CHECKSUM: return CISAL_BAD_CHECKSUM;
        default: return CISAL_FAILED;
    }
    return state->block_state == ISAL_BLOCK_FINISH ? CISAL_END : CISAL_MORE;
}
