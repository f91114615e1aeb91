#include "state.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

// What a disk remembers of its files: what is durable, and what has happened since.

static void forget_changes(struct node *node) {
    for (int64_t index = 0; index < node->change_count; index++) free((void *)node->changes[index].bytes);
    node->change_count = 0;
}

static void free_node(struct node *node) {
    forget_changes(node);
    free(node->changes);
    free(node->durable.bytes);
    free(node->path);
    free(node);
}

void cfault_free_nodes(struct node *node) {
    while (node != NULL) {
        struct node *next = node->next;
        free_node(node);
        node = next;
    }
}

static struct node *find_node(struct cfault_disk *disk, const char *path) {
    struct node *node = disk->nodes;
    while (node != NULL && strcmp(node->path, path) != 0) node = node->next;
    return node;
}

struct node *cfault_node(struct cfault_disk *disk, const char *path) {
    pthread_mutex_lock(&disk->lock);
    struct node *node = find_node(disk, path);
    pthread_mutex_unlock(&disk->lock);
    return node;
}

// Makes room, and fills a gap with zeros as a file does.
static bool grow(struct buffer *buffer, int64_t size) {
    if (size > buffer->capacity) {
        int64_t capacity = size * 2;
        uint8_t *bytes = realloc(buffer->bytes, (size_t)capacity);
        if (bytes == NULL) return false;
        buffer->bytes = bytes;
        buffer->capacity = capacity;
    }
    if (size > buffer->size) {
        memset(buffer->bytes + buffer->size, 0, (size_t)(size - buffer->size));
        buffer->size = size;
    }
    return true;
}

static bool apply(struct buffer *buffer, struct cfault_change change) {
    switch (change.kind) {
    case CFAULT_CHANGE_DELETE:
        buffer->size = 0;
        return true;
    case CFAULT_CHANGE_TRUNCATE:
        if (!grow(buffer, change.offset)) return false;
        buffer->size = change.offset;
        return true;
    case CFAULT_CHANGE_WRITE:
        if (!grow(buffer, change.offset + change.size)) return false;
        memcpy(buffer->bytes + change.offset, change.bytes, (size_t)change.size);
        return true;
    }
    return false;
}

struct node *cfault_add_node(struct cfault_disk *disk, const char *path, const uint8_t *bytes, int64_t size) {
    struct node *node = calloc(1, sizeof *node);
    if (node == NULL) return NULL;
    node->path = strdup(path);
    struct cfault_change content = {.kind = CFAULT_CHANGE_WRITE, .size = size, .bytes = bytes};
    if (node->path == NULL || (size > 0 && !apply(&node->durable, content))) {
        free_node(node);
        return NULL;
    }
    pthread_mutex_lock(&disk->lock);
    struct node *winner = find_node(disk, path);
    if (winner == NULL) {
        struct node **list = disk->has_power ? &disk->nodes : &disk->late;
        node->next = *list;
        *list = winner = node;
    }
    pthread_mutex_unlock(&disk->lock);
    if (winner != node) free_node(node);
    return winner;
}

static int append(struct node *node, struct cfault_change change) {
    if (node->change_count == node->change_capacity) {
        int64_t capacity = node->change_capacity * 2 + 16;
        struct cfault_change *changes = realloc(node->changes, (size_t)capacity * sizeof *changes);
        if (changes == NULL) return SQLITE_NOMEM;
        node->changes = changes;
        node->change_capacity = capacity;
    }
    if (change.size > 0) {
        uint8_t *bytes = malloc((size_t)change.size);
        if (bytes == NULL) return SQLITE_NOMEM;
        memcpy(bytes, change.bytes, (size_t)change.size);
        change.bytes = bytes;
    } else {
        change.bytes = NULL;
    }
    node->changes[node->change_count++] = change;
    return SQLITE_OK;
}

int cfault_record(struct cfault_disk *disk, struct node *node, struct cfault_change change) {
    pthread_mutex_lock(&disk->lock);
    int result = disk->is_attached && disk->has_power ? append(node, change) : SQLITE_OK;
    pthread_mutex_unlock(&disk->lock);
    return result;
}

int cfault_harden(struct cfault_disk *disk, struct node *node) {
    int result = SQLITE_OK;
    pthread_mutex_lock(&disk->lock);
    if (disk->is_attached && disk->has_power) {
        for (int64_t index = 0; index < node->change_count; index++) {
            if (node->changes[index].is_doomed) continue;
            if (!apply(&node->durable, node->changes[index])) result = SQLITE_NOMEM;
        }
        forget_changes(node);
    }
    pthread_mutex_unlock(&disk->lock);
    return result;
}

void cfault_doom(struct cfault_disk *disk, struct node *node) {
    pthread_mutex_lock(&disk->lock);
    if (disk->is_attached && disk->has_power) {
        for (int64_t index = 0; index < node->change_count; index++) {
            struct cfault_change *change = &node->changes[index];
            change->is_doomed = change->kind == CFAULT_CHANGE_WRITE;
        }
    }
    pthread_mutex_unlock(&disk->lock);
}

// What was deleted last is gone, with all that had happened to it; a new file of its name is as unsynced as before.
static void harden_deletion(struct node *node) {
    int64_t count = node->change_count;
    while (count > 0 && node->changes[count - 1].kind != CFAULT_CHANGE_DELETE) count -= 1;
    if (count == 0) return;
    node->durable.size = 0;
    for (int64_t index = 0; index < count; index++) free((void *)node->changes[index].bytes);
    node->change_count -= count;
    memmove(node->changes, node->changes + count, (size_t)node->change_count * sizeof *node->changes);
}

void cfault_harden_directory(struct cfault_disk *disk, const char *path) {
    size_t length = (size_t)(strrchr(path, '/') - path) + 1;
    pthread_mutex_lock(&disk->lock);
    if (disk->is_attached && disk->has_power) {
        for (struct node *node = disk->nodes; node != NULL; node = node->next) {
            bool is_in = strncmp(node->path, path, length) == 0 && strchr(node->path + length, '/') == NULL;
            if (is_in) harden_deletion(node);
        }
    }
    pthread_mutex_unlock(&disk->lock);
}

// MARK: - After the cut

static struct node *node_at(struct cfault_disk *disk, int64_t index) {
    struct node *node = disk->nodes;
    while (index-- > 0) node = node->next;
    return node;
}

int64_t cfault_file_count(struct cfault_disk *disk) {
    int64_t count = 0;
    for (struct node *node = disk->nodes; node != NULL; node = node->next) count += 1;
    return count;
}

struct cfault_file cfault_file_at(struct cfault_disk *disk, int64_t index) {
    struct node *node = node_at(disk, index);
    return (struct cfault_file){
        .name = node->path + strlen(disk->directory) + 1,
        .bytes = node->durable.bytes,
        .size = node->durable.size,
        .change_count = node->change_count,
    };
}

struct cfault_change cfault_change_at(struct cfault_disk *disk, int64_t file, int64_t index) {
    return node_at(disk, file)->changes[index];
}
