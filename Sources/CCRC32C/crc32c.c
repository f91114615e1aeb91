#include "CCRC32C.h"

#include <string.h>

// Slicing by eight: table[k][b] is the CRC of byte b followed by k zero bytes. Filled before main, so that readers
// need no lock.
static uint32_t table[8][256];

__attribute__((constructor)) static void fill_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0);
        }
        table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = table[slice - 1][byte];
            table[slice][byte] = (crc >> 8) ^ table[0][crc & 0xFF];
        }
    }
}

uint32_t ccrc32c_update_portable(uint32_t crc, const void *bytes, size_t length) {
    const uint8_t *next = bytes;
    while (length >= 8) {
        uint32_t low = crc ^ ((uint32_t)next[0] | (uint32_t)next[1] << 8 | (uint32_t)next[2] << 16 |
                              (uint32_t)next[3] << 24);
        crc = table[7][low & 0xFF] ^ table[6][(low >> 8) & 0xFF] ^ table[5][(low >> 16) & 0xFF] ^
              table[4][low >> 24] ^ table[3][next[4]] ^ table[2][next[5]] ^ table[1][next[6]] ^ table[0][next[7]];
        next += 8;
        length -= 8;
    }
    while (length-- > 0) {
        crc = (crc >> 8) ^ table[0][(crc ^ *next++) & 0xFF];
    }
    return crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t update_hardware(uint32_t crc, const uint8_t *next, size_t length) {
    uint64_t wide = crc;
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        wide = _mm_crc32_u64(wide, word);
        next += 8;
        length -= 8;
    }
    crc = (uint32_t)wide;
    while (length-- > 0) {
        crc = _mm_crc32_u8(crc, *next++);
    }
    return crc;
}

static int has_hardware(void) { return __builtin_cpu_supports("sse4.2"); }

#elif defined(__aarch64__) && defined(__linux__)

#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>

__attribute__((target("crc"))) static uint32_t update_hardware(uint32_t crc, const uint8_t *next, size_t length) {
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        crc = __crc32cd(crc, word);
        next += 8;
        length -= 8;
    }
    while (length-- > 0) {
        crc = __crc32cb(crc, *next++);
    }
    return crc;
}

static int has_hardware(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

#else

static uint32_t update_hardware(uint32_t crc, const uint8_t *next, size_t length) {
    return ccrc32c_update_portable(crc, next, length);
}

static int has_hardware(void) { return 0; }

#endif

uint32_t ccrc32c_update(uint32_t crc, const void *bytes, size_t length) {
    static int hardware = -1;  // 0 or 1 once known; every thread computes the same
    int known = __atomic_load_n(&hardware, __ATOMIC_RELAXED);
    if (known < 0) {
        known = has_hardware();
        __atomic_store_n(&hardware, known, __ATOMIC_RELAXED);
    }
    return known ? update_hardware(crc, bytes, length) : ccrc32c_update_portable(crc, bytes, length);
}
