// What the agent in a virtual machine asks of its kernel and Swift's Glibc module does not show: calls that are variadic,
// need _GNU_SOURCE, or must be made between fork and exec, where no Swift may run.
// Every function answers with a result >= 0 or with a negated errno. For a process of one thread.
#ifndef CGUEST_H
#define CGUEST_H

#include <stdint.h>
#include <sys/types.h>

// Before the machine is set up.

// finit_module(2); compressed modules are left to the kernel. A module that is loaded already is no error.
int cguest_load_module(const char *path);
// CLOCK_BOOTTIME in milliseconds.
uint64_t cguest_uptime(void);
// A signalfd(2) for SIGCHLD, which is blocked from then on; SIGPIPE is ignored. Non-blocking, close-on-exec.
int cguest_child_signals(void);
// Takes what waits in such a descriptor.
void cguest_forget_signals(int signals);
// This process's nice value.
int cguest_set_nice(int nice);
// reboot(2): ends the machine, by its power switch or (for a machine without one) as a restart.
int cguest_end_machine(int by_power_switch);

// File systems.

// mount(2); the flags are those of mount(2).
int cguest_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data);
int cguest_unmount(const char *target);
int cguest_detach(const char *target);
// Grows the mounted ext4 to its device's size (EXT4_IOC_RESIZE_FS). 1 when it grew, 0 when it had that size.
int cguest_grow(const char *mount_point, const char *device);
// openat2(2) below a root that no symbolic link leads out of (RESOLVE_IN_ROOT). Close-on-exec.
int cguest_open_in_root(int root, const char *path, int flags, unsigned mode);
// The same for reference only (O_PATH): whatever stands there.
int cguest_refer_in_root(int root, const char *path);
// Makes a directory and what is missing above it, in the same way; answers with a descriptor (O_PATH) of it.
int cguest_make_directory(int root, const char *path, unsigned mode);

// Network: addresses in host byte order.

int cguest_interface_up(const char *name);
int cguest_interface_address(const char *name, uint32_t address, unsigned prefix_length);
int cguest_default_route(uint32_t gateway);

// Processes.

struct cguest_command {
    int root;               // descriptor of the directory that becomes /
    const char *directory;  // working directory inside
    char *const *arguments;
    char *const *environment;
    uint32_t uid, gid;
    const gid_t *groups;
    int group_count;
    int cgroup;      // descriptor of a cgroup.procs, or -1
    int fds[3];      // 0, 1, 2 of the child
    int is_terminal; // fds[0] becomes the controlling terminal
};

// Where a child failed, as it writes it to its report before it ends.
enum cguest_step {
    CGUEST_STEP_SETUP = 1,
    CGUEST_STEP_DIRECTORY,
    CGUEST_STEP_USER,
    CGUEST_STEP_EXEC,
    CGUEST_STEP_FILE,
};

struct cguest_report {
    int32_t step;
    int32_t error;
};

// Starts a command in a session of its own. On `report` (close-on-exec in the child) comes a cguest_report when it could
// not be executed, else only the end of file. Answers with the pid.
int cguest_start(const struct cguest_command *command, int report);
// Starts a process that writes its standard input `input` to a file of the root: aside, on disk, renamed into place.
// SIGTERM makes it give up and leave nothing. Comes to its end with code 0 when the file is there; else reports.
int cguest_start_writing(int root, const char *path, unsigned mode, int input, int report);
// Starts a process that writes a regular file's contents to `output`; reports EFBIG when there is more than `limit`.
int cguest_start_reading(int root, const char *path, uint64_t limit, int output, int report);
// Starts a process that puts the root's file system on disk.
int cguest_start_syncing(int root, int report);
// Reaps one child that ended: its pid, or 0 when there is none to be reaped (now), or -ECHILD.
int cguest_reap(int *is_signal, int *number);

// A terminal of the root's own devpts: both ends, close-on-exec, the first one non-blocking.
int cguest_terminal(int root, int ends[2]);
int cguest_terminal_size(int terminal, unsigned rows, unsigned columns);
// Both ends close-on-exec; the one that stays here (0: reading, 1: writing) non-blocking.
int cguest_pipe(int ends[2], int stays);
// How many bytes wait in a pipe.
int cguest_waiting(int fd);

#endif
