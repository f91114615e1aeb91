#include "state.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// Which disks are attached, and what becomes of each call to one.

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
    cfault_free_nodes(disk->nodes);
    cfault_free_nodes(disk->late);
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

void cfault_slow_syncs(struct cfault_disk *disk, int64_t microseconds) {
    pthread_mutex_lock(&disk->lock);
    disk->sync_microseconds = microseconds;
    pthread_mutex_unlock(&disk->lock);
}

int64_t cfault_sync_microseconds(struct cfault_disk *disk) {
    pthread_mutex_lock(&disk->lock);
    int64_t microseconds = disk->sync_microseconds;
    pthread_mutex_unlock(&disk->lock);
    return microseconds;
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
