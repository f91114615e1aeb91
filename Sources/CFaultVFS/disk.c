#include "disk.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

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
};

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

static void free_nodes(struct node *node) {
    while (node != NULL) {
        struct node *next = node->next;
        free_node(node);
        node = next;
    }
}

// MARK: - Attached disks

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static struct cfault_disk *attached;
// Looked at without the lock, so that a process without disks pays one load for each file that it opens.
static atomic_int attached_count;

struct cfault_disk *cfault_attach(const char *directory) {
    if (cfault_register() != SQLITE_OK) return NULL;
    struct cfault_disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL) return NULL;
    disk->directory = strdup(directory);
    if (disk->directory == NULL) {
        free(disk);
        return NULL;
    }
    pthread_mutex_init(&disk->lock, NULL);
    disk->references = 1;
    disk->is_attached = true;
    disk->has_power = true;
    pthread_mutex_lock(&registry);
    disk->next = attached;
    attached = disk;
    atomic_fetch_add(&attached_count, 1);
    pthread_mutex_unlock(&registry);
    return disk;
}

void cfault_detach(struct cfault_disk *disk) {
    pthread_mutex_lock(&registry);
    for (struct cfault_disk **at = &attached; *at != NULL; at = &(*at)->next) {
        if (*at != disk) continue;
        *at = disk->next;
        atomic_fetch_sub(&attached_count, 1);
        break;
    }
    pthread_mutex_unlock(&registry);
    pthread_mutex_lock(&disk->lock);
    disk->is_attached = false;
    pthread_mutex_unlock(&disk->lock);
}

static bool is_below(const char *path, const char *directory) {
    size_t length = strlen(directory);
    return strncmp(path, directory, length) == 0 && path[length] == '/';
}

struct cfault_disk *cfault_find(const char *path) {
    if (path == NULL || atomic_load(&attached_count) == 0) return NULL;
    pthread_mutex_lock(&registry);
    struct cfault_disk *disk = attached;
    while (disk != NULL && !is_below(path, disk->directory)) disk = disk->next;
    if (disk != NULL) disk->references += 1;
    pthread_mutex_unlock(&registry);
    return disk;
}

void cfault_let_go(struct cfault_disk *disk) {
    pthread_mutex_lock(&registry);
    bool is_last = --disk->references == 0;
    pthread_mutex_unlock(&registry);
    if (!is_last) return;
    free_nodes(disk->nodes);
    free_nodes(disk->late);
    pthread_mutex_destroy(&disk->lock);
    free(disk->directory);
    free(disk);
}

void cfault_release(struct cfault_disk *disk) {
    cfault_detach(disk);
    cfault_let_go(disk);
}

// MARK: - Calls

static bool ends_with(const char *path, const char *suffix) {
    size_t length = strlen(path), tail = strlen(suffix);
    return length >= tail && strcmp(path + length - tail, suffix) == 0;
}

enum cfault_role cfault_role_of(const char *path) {
    if (ends_with(path, "-wal")) return CFAULT_LOG;
    if (ends_with(path, "-journal")) return CFAULT_JOURNAL;
    if (ends_with(path, "-shm")) return CFAULT_SHARED_MEMORY;
    return CFAULT_DATABASE;
}

static int io_error(enum cfault_call call) {
    switch (call) {
    case CFAULT_OPEN: return SQLITE_CANTOPEN;
    case CFAULT_CLOSE: return SQLITE_IOERR_CLOSE;
    case CFAULT_READ: return SQLITE_IOERR_READ;
    case CFAULT_WRITE: return SQLITE_IOERR_WRITE;
    case CFAULT_TRUNCATE: return SQLITE_IOERR_TRUNCATE;
    case CFAULT_SYNC: return SQLITE_IOERR_FSYNC;
    case CFAULT_FILE_SIZE: return SQLITE_IOERR_FSTAT;
    case CFAULT_LOCK: return SQLITE_IOERR_LOCK;
    case CFAULT_CHECK_RESERVED_LOCK: return SQLITE_IOERR_CHECKRESERVEDLOCK;
    case CFAULT_SHM_MAP: return SQLITE_IOERR_SHMMAP;
    case CFAULT_SHM_LOCK: return SQLITE_IOERR_SHMLOCK;
    case CFAULT_DELETE: return SQLITE_IOERR_DELETE;
    case CFAULT_ACCESS: return SQLITE_IOERR_ACCESS;
    default: return SQLITE_IOERR;
    }
}

// Whether this call is the planned one, or one after it.
static bool has_come(struct progress *progress, enum cfault_role role, enum cfault_call call) {
    struct cfault_plan plan = progress->plan;
    if (plan.position == 0 || !(plan.calls >> call & 1) || !(plan.roles >> role & 1)) return false;
    progress->passed += 1;
    return progress->passed >= plan.position;
}

int cfault_step(struct cfault_disk *disk, enum cfault_role role, enum cfault_call call) {
    int result = SQLITE_OK;
    pthread_mutex_lock(&disk->lock);
    if (disk->is_attached && disk->has_power) {
        if (has_come(&disk->cut, role, call)) {
            disk->has_power = false;
        } else {
            disk->counts[role][call] += 1;
            if (has_come(&disk->fault, role, call)
                && (disk->is_persistent || disk->fault.passed == disk->fault.plan.position)) {
                disk->failed += 1;
                result = disk->error == CFAULT_BUSY ? SQLITE_BUSY
                    : disk->error == CFAULT_FULL ? SQLITE_FULL : io_error(call);
            }
        }
    }
    pthread_mutex_unlock(&disk->lock);
    return result;
}

void cfault_fail(struct cfault_disk *disk, struct cfault_plan plan, enum cfault_error error, bool persistently) {
    pthread_mutex_lock(&disk->lock);
    disk->fault = (struct progress){.plan = plan};
    disk->error = error;
    disk->is_persistent = persistently;
    pthread_mutex_unlock(&disk->lock);
}

void cfault_plan_cut(struct cfault_disk *disk, struct cfault_plan plan) {
    pthread_mutex_lock(&disk->lock);
    disk->cut = (struct progress){.plan = plan};
    pthread_mutex_unlock(&disk->lock);
}

void cfault_cut(struct cfault_disk *disk) {
    pthread_mutex_lock(&disk->lock);
    disk->has_power = false;
    pthread_mutex_unlock(&disk->lock);
}

bool cfault_has_power(struct cfault_disk *disk) {
    pthread_mutex_lock(&disk->lock);
    bool result = disk->has_power;
    pthread_mutex_unlock(&disk->lock);
    return result;
}

int64_t cfault_count(struct cfault_disk *disk, enum cfault_role role, enum cfault_call call) {
    pthread_mutex_lock(&disk->lock);
    int64_t result = disk->counts[role][call];
    pthread_mutex_unlock(&disk->lock);
    return result;
}

int64_t cfault_failed_count(struct cfault_disk *disk) {
    pthread_mutex_lock(&disk->lock);
    int64_t result = disk->failed;
    pthread_mutex_unlock(&disk->lock);
    return result;
}

// MARK: - What is durable

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
