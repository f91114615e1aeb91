#ifndef CFAULTVFS_H
#define CFAULTVFS_H

#include <stdbool.h>
#include <stdint.h>

// A layer between SQLite and its unix VFS. For the files below a directory that a disk is attached to it counts calls,
// lets chosen ones fail, and remembers what a loss of power would leave. Every other file never sees it.

// What SQLite asked for. The values are bit numbers in the masks below.
enum cfault_call {
    CFAULT_OPEN,
    CFAULT_CLOSE,
    CFAULT_READ,
    CFAULT_WRITE,
    CFAULT_TRUNCATE,
    CFAULT_SYNC,
    CFAULT_FILE_SIZE,
    CFAULT_LOCK,
    CFAULT_UNLOCK,
    CFAULT_CHECK_RESERVED_LOCK,
    CFAULT_SHM_MAP,
    CFAULT_SHM_LOCK,
    CFAULT_SHM_UNLOCK,
    CFAULT_SHM_BARRIER,
    CFAULT_SHM_UNMAP,
    CFAULT_DELETE,
    CFAULT_ACCESS,
    CFAULT_CALL_COUNT
};

// Which file it asked it of.
enum cfault_role {
    CFAULT_DATABASE,
    CFAULT_LOG,
    CFAULT_JOURNAL,
    CFAULT_SHARED_MEMORY,
    CFAULT_ROLE_COUNT
};

enum cfault_error {
    CFAULT_IO_ERROR,
    CFAULT_FULL,
    CFAULT_BUSY
};

// Which calls, and the how-manieth of them from now on. A position of 0 means none.
struct cfault_plan {
    uint32_t calls;
    uint32_t roles;
    int64_t position;
};

enum cfault_change_kind {
    CFAULT_CHANGE_WRITE,
    // To the size that `offset` says.
    CFAULT_CHANGE_TRUNCATE,
    CFAULT_CHANGE_DELETE
};

// Something that happened to a file since it was last synced.
struct cfault_change {
    enum cfault_change_kind kind;
    int64_t offset;
    int64_t size;
    const uint8_t *bytes;
    // A sync failed after this write. Linux then drops what it could not write and reports success the next time, so no
    // later sync makes it durable.
    bool is_doomed;
};

// One file after the power was cut. An empty file and a missing one are the same, as they are to SQLite.
struct cfault_file {
    // Relative to the directory.
    const char *name;
    // What is durable.
    const uint8_t *bytes;
    int64_t size;
    int64_t change_count;
};

struct cfault_disk;

// Attaches a disk to an absolute path without symbolic links. NULL when there is no memory or no VFS.
struct cfault_disk *cfault_attach(const char *directory);
// Files that are open stay usable; nothing is counted, failed or remembered any more.
void cfault_detach(struct cfault_disk *disk);
// Detaches, and frees the disk once its last file is closed.
void cfault_release(struct cfault_disk *disk);

int64_t cfault_count(struct cfault_disk *disk, enum cfault_role role, enum cfault_call call);
int64_t cfault_failed_count(struct cfault_disk *disk);

void cfault_fail(struct cfault_disk *disk, struct cfault_plan plan, enum cfault_error error, bool persistently);
// The planned call is the first that the disk does not get to see.
void cfault_plan_cut(struct cfault_disk *disk, struct cfault_plan plan);
// From now on each sync takes so much longer; up to a minute.
void cfault_slow_syncs(struct cfault_disk *disk, int64_t microseconds);
// From now on the files change without the disk.
void cfault_cut(struct cfault_disk *disk);
bool cfault_has_power(struct cfault_disk *disk);

// Only after the cut, when nothing of it changes any more. The pointers live as long as the disk.
int64_t cfault_file_count(struct cfault_disk *disk);
struct cfault_file cfault_file_at(struct cfault_disk *disk, int64_t index);
struct cfault_change cfault_change_at(struct cfault_disk *disk, int64_t file, int64_t index);

#endif
