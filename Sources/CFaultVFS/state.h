#ifndef CFAULTVFS_STATE_H
#define CFAULTVFS_STATE_H

#include "disk.h"

#include <pthread.h>

// What a disk consists of, for the two files that work on it.

struct buffer {
    uint8_t *bytes;
    int64_t size;
    int64_t capacity;
};

struct node {
    struct node *next;
    char *path;
    struct buffer durable;
    struct cfault_change *changes;
    int64_t change_count;
    int64_t change_capacity;
};

struct progress {
    struct cfault_plan plan;
    int64_t passed;
};

struct cfault_disk {
    pthread_mutex_t lock;
    char *directory;
    // One for the owner, one for each open file. Guarded by the registry's lock, as is `next`.
    int references;
    struct cfault_disk *next;
    bool is_attached;
    bool has_power;
    struct node *nodes;
    // Files first seen after the cut, which are none of what is left.
    struct node *late;
    int64_t counts[CFAULT_ROLE_COUNT][CFAULT_CALL_COUNT];
    int64_t failed;
    struct progress fault;
    enum cfault_error error;
    bool is_persistent;
    struct progress cut;
    int64_t sync_microseconds;
};

// Frees a list of files.
void cfault_free_nodes(struct node *node);

#endif
