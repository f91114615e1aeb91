#ifndef CFAULTVFS_DISK_H
#define CFAULTVFS_DISK_H

#include "CFaultVFS.h"

// What the VFS tells a disk. All of these lock the disk; results are SQLite's codes.

struct node;

// Makes the layer SQLite's default VFS, once a process.
int cfault_register(void);

// The attached disk that the path lies on, retained; NULL if there is none.
struct cfault_disk *cfault_find(const char *path);
void cfault_let_go(struct cfault_disk *disk);

enum cfault_role cfault_role_of(const char *path);

// Counts a call. Returns the error that it shall fail with, or SQLITE_OK.
int cfault_step(struct cfault_disk *disk, enum cfault_role role, enum cfault_call call);

// By how much each sync is slower than the real one.
int64_t cfault_sync_microseconds(struct cfault_disk *disk);

// What the disk knows of a file, NULL if nothing.
struct node *cfault_node(struct cfault_disk *disk, const char *path);
// Makes the disk know a file; `bytes` counts as durable. The first to add it wins. NULL when there is no memory.
struct node *cfault_add_node(struct cfault_disk *disk, const char *path, const uint8_t *bytes, int64_t size);

// Remembers a change that is not durable yet.
int cfault_record(struct cfault_disk *disk, struct node *node, struct cfault_change change);
// Everything remembered of the file is durable now.
int cfault_harden(struct cfault_disk *disk, struct node *node);
// A sync of the file failed.
void cfault_doom(struct cfault_disk *disk, struct node *node);
// Deletions in the directory of `path` are durable now.
void cfault_harden_directory(struct cfault_disk *disk, const char *path);

#endif
