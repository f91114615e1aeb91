#include "disk.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

// A file on an attached disk. The real VFS's own file object follows it in memory.
struct file {
    sqlite3_file base;
    struct cfault_disk *disk;
    struct node *node;
    enum cfault_role role;
    // SQLite's own name of the file, valid until it is closed.
    const char *path;
    // The unix VFS syncs the directory with the first sync of a journal or log that it may have created.
    bool syncs_directory;
    // Keeps what follows aligned for whatever the real VFS puts there.
    _Alignas(16) char real[];
};

static sqlite3_vfs *unix_vfs;
static sqlite3_vfs layer;

static struct file *as_file(sqlite3_file *base) { return (struct file *)base; }
static sqlite3_file *real_of(sqlite3_file *base) { return (sqlite3_file *)as_file(base)->real; }
static const sqlite3_io_methods *methods(sqlite3_file *base) { return real_of(base)->pMethods; }

// Whether the last lock that this thread asked for was refused by a disk.
static _Thread_local bool was_refused;

static int step_as(sqlite3_file *base, enum cfault_role role, enum cfault_call call) {
    int error = cfault_step(as_file(base)->disk, role, call);
    was_refused = error == SQLITE_BUSY;
    return error;
}

static int step(sqlite3_file *base, enum cfault_call call) { return step_as(base, as_file(base)->role, call); }

// The index of the log is a file of its own, though SQLite reaches it through the database.
static int step_shm(sqlite3_file *base, enum cfault_call call) { return step_as(base, CFAULT_SHARED_MEMORY, call); }

// MARK: - Files

static int file_close(sqlite3_file *base) {
    step(base, CFAULT_CLOSE);
    int result = methods(base)->xClose(real_of(base));
    cfault_let_go(as_file(base)->disk);
    return result;
}

static int file_read(sqlite3_file *base, void *bytes, int size, sqlite3_int64 offset) {
    int error = step(base, CFAULT_READ);
    return error != SQLITE_OK ? error : methods(base)->xRead(real_of(base), bytes, size, offset);
}

static int file_write(sqlite3_file *base, const void *bytes, int size, sqlite3_int64 offset) {
    int error = step(base, CFAULT_WRITE);
    // A write that fails has got half-way: a disk that is full or breaks does not undo what it has begun.
    if (error != SQLITE_OK) size /= 2;
    struct cfault_change change = {.kind = CFAULT_CHANGE_WRITE, .offset = offset, .size = size, .bytes = bytes};
    int recorded = cfault_record(as_file(base)->disk, as_file(base)->node, change);
    if (recorded != SQLITE_OK) return recorded;
    int result = methods(base)->xWrite(real_of(base), bytes, size, offset);
    return error != SQLITE_OK ? error : result;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size) {
    int error = step(base, CFAULT_TRUNCATE);
    if (error != SQLITE_OK) return error;
    struct cfault_change change = {.kind = CFAULT_CHANGE_TRUNCATE, .offset = size};
    int recorded = cfault_record(as_file(base)->disk, as_file(base)->node, change);
    return recorded != SQLITE_OK ? recorded : methods(base)->xTruncate(real_of(base), size);
}

static int file_sync(sqlite3_file *base, int flags) {
    int error = step(base, CFAULT_SYNC);
    int64_t delay = cfault_sync_microseconds(as_file(base)->disk);
    if (delay > 0) unix_vfs->xSleep(unix_vfs, (int)delay);
    if (error == SQLITE_OK) error = methods(base)->xSync(real_of(base), flags);
    struct file *file = as_file(base);
    if (error != SQLITE_OK) {
        cfault_doom(file->disk, file->node);
        return error;
    }
    if (file->syncs_directory) cfault_harden_directory(file->disk, file->path);
    file->syncs_directory = false;
    return cfault_harden(file->disk, file->node);
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size) {
    int error = step(base, CFAULT_FILE_SIZE);
    return error != SQLITE_OK ? error : methods(base)->xFileSize(real_of(base), size);
}

static int file_lock(sqlite3_file *base, int level) {
    int error = step(base, CFAULT_LOCK);
    return error != SQLITE_OK ? error : methods(base)->xLock(real_of(base), level);
}

static int file_unlock(sqlite3_file *base, int level) {
    int error = step(base, CFAULT_UNLOCK);
    return error != SQLITE_OK ? error : methods(base)->xUnlock(real_of(base), level);
}

static int file_check_reserved_lock(sqlite3_file *base, int *result) {
    int error = step(base, CFAULT_CHECK_RESERVED_LOCK);
    return error != SQLITE_OK ? error : methods(base)->xCheckReservedLock(real_of(base), result);
}

static int file_control(sqlite3_file *base, int operation, void *argument) {
    return methods(base)->xFileControl(real_of(base), operation, argument);
}

static int file_sector_size(sqlite3_file *base) { return methods(base)->xSectorSize(real_of(base)); }

static int file_device_characteristics(sqlite3_file *base) {
    return methods(base)->xDeviceCharacteristics(real_of(base));
}

static int file_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **memory) {
    int error = step_shm(base, CFAULT_SHM_MAP);
    if (error == SQLITE_OK) return methods(base)->xShmMap(real_of(base), region, size, extend, memory);
    *memory = NULL;
    return error;
}

static int file_shm_lock(sqlite3_file *base, int offset, int count, int flags) {
    int error = step_shm(base, flags & SQLITE_SHM_UNLOCK ? CFAULT_SHM_UNLOCK : CFAULT_SHM_LOCK);
    return error != SQLITE_OK ? error : methods(base)->xShmLock(real_of(base), offset, count, flags);
}

static void file_shm_barrier(sqlite3_file *base) {
    step_shm(base, CFAULT_SHM_BARRIER);
    methods(base)->xShmBarrier(real_of(base));
}

static int file_shm_unmap(sqlite3_file *base, int deletes) {
    step_shm(base, CFAULT_SHM_UNMAP);
    return methods(base)->xShmUnmap(real_of(base), deletes);
}

// Version 2: without xFetch, so that SQLite reads and writes through calls that can be seen.
static const sqlite3_io_methods file_methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_device_characteristics,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

// MARK: - Opening

// What an existing file holds when the disk first sees it is durable. It is read through SQLite's own descriptor:
// opening and closing another would drop the locks that the process has on the file.
static int load(struct cfault_disk *disk, const char *path, sqlite3_file *real, struct node **node) {
    *node = cfault_node(disk, path);
    if (*node != NULL) return SQLITE_OK;
    sqlite3_int64 size = 0;
    int error = real->pMethods->xFileSize(real, &size);
    if (error != SQLITE_OK) return error;
    uint8_t *bytes = malloc((size_t)size + 1);
    if (bytes == NULL) return SQLITE_NOMEM;
    if (size > 0) error = real->pMethods->xRead(real, bytes, (int)size, 0);
    if (error == SQLITE_OK) {
        *node = cfault_add_node(disk, path, bytes, size);
        if (*node == NULL) error = SQLITE_NOMEM;
    }
    free(bytes);
    return error;
}

static int open_on(struct cfault_disk *disk, const char *path, sqlite3_file *base, int flags, int *out_flags) {
    struct file *file = as_file(base);
    file->role = cfault_role_of(path);
    int error = cfault_step(disk, file->role, CFAULT_OPEN);
    if (error != SQLITE_OK) return error;
    sqlite3_file *real = real_of(base);
    memset(real, 0, (size_t)unix_vfs->szOsFile);
    error = unix_vfs->xOpen(unix_vfs, path, real, flags, out_flags);
    if (error == SQLITE_OK) error = load(disk, path, real, &file->node);
    if (error != SQLITE_OK && real->pMethods != NULL) real->pMethods->xClose(real);
    if (error == SQLITE_OK) {
        int journals = SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL;
        file->syncs_directory = (flags & SQLITE_OPEN_CREATE) && (flags & journals);
        file->disk = disk;
        file->path = path;
        base->pMethods = &file_methods;
    }
    return error;
}

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *out_flags) {
    (void)vfs;
    struct cfault_disk *disk = cfault_find(path);
    if (disk == NULL) return unix_vfs->xOpen(unix_vfs, path, base, flags, out_flags);
    base->pMethods = NULL;
    int error = open_on(disk, path, base, flags, out_flags);
    // An open file keeps the disk.
    if (error != SQLITE_OK) cfault_let_go(disk);
    return error;
}

static int delete_on(struct cfault_disk *disk, const char *path, int syncs_directory) {
    int error = cfault_step(disk, cfault_role_of(path), CFAULT_DELETE);
    if (error != SQLITE_OK) return error;
    struct node *node = cfault_node(disk, path);
    if (node != NULL) error = cfault_record(disk, node, (struct cfault_change){.kind = CFAULT_CHANGE_DELETE});
    if (error == SQLITE_OK) error = unix_vfs->xDelete(unix_vfs, path, syncs_directory);
    if (error == SQLITE_OK && syncs_directory) cfault_harden_directory(disk, path);
    return error;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int syncs_directory) {
    (void)vfs;
    struct cfault_disk *disk = cfault_find(path);
    if (disk == NULL) return unix_vfs->xDelete(unix_vfs, path, syncs_directory);
    int error = delete_on(disk, path, syncs_directory);
    cfault_let_go(disk);
    return error;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *result) {
    (void)vfs;
    struct cfault_disk *disk = cfault_find(path);
    int error = SQLITE_OK;
    if (disk != NULL) {
        error = cfault_step(disk, cfault_role_of(path), CFAULT_ACCESS);
        cfault_let_go(disk);
    }
    return error != SQLITE_OK ? error : unix_vfs->xAccess(unix_vfs, path, flags, result);
}

// Nobody holds a lock that a disk refused, so there is nobody to wait for.
static int vfs_sleep(sqlite3_vfs *vfs, int microseconds) {
    (void)vfs;
    return was_refused ? microseconds : unix_vfs->xSleep(unix_vfs, microseconds);
}

// MARK: - Registering

static int registered = SQLITE_ERROR;

static void register_once(void) {
    unix_vfs = sqlite3_vfs_find("unix");
    if (unix_vfs == NULL) return;
    // Everything else is the unix VFS's own functions, which look at their VFS only when they open a file.
    layer = *unix_vfs;
    layer.zName = "unix-fault";
    layer.pNext = NULL;
    layer.szOsFile += (int)sizeof(struct file);
    layer.xOpen = vfs_open;
    layer.xDelete = vfs_delete;
    layer.xAccess = vfs_access;
    layer.xSleep = vfs_sleep;
    registered = sqlite3_vfs_register(&layer, 1);
}

int cfault_register(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_once);
    return registered;
}
