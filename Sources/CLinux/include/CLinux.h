// Linux calls that Swift's Glibc overlay does not show (they need _GNU_SOURCE, or are variadic).
// Every function answers with a result >= 0 or with a negated errno; none touches global state.
#ifndef CLINUX_H
#define CLINUX_H

// pidfd_open(2). The descriptor is close-on-exec.
int clinux_pidfd_open(int pid);

// pidfd_send_signal(2).
int clinux_pidfd_send_signal(int pidfd, int signal);

// Takes an exclusive lock on the whole file for the open file description behind fd (fcntl(2), F_OFD_SETLK).
// -EAGAIN: another description holds one. The lock goes when the description's last descriptor is closed, in
// whichever process that is.
int clinux_lock(int fd);

// 1 when another open file description holds a lock on the file, 0 when none does (F_OFD_GETLK: takes nothing).
int clinux_is_locked(int fd);

// An anonymous file in memory (memfd_create(2)), close-on-exec.
int clinux_memory_file(void);

// A pipe; both ends close-on-exec.
int clinux_pipe(int ends[2]);

// The user namespace that owns a namespace (ioctl_ns(2), NS_GET_USERNS), close-on-exec.
int clinux_owning_user_namespace(int namespace_fd);

// Opens a path below a directory for reference only; -EXDEV or -ELOOP when it leads out of it or through a
// symbolic link (openat2(2), RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS).
int clinux_open_beneath(int directory, const char *path);

// Starts a program with posix_spawn(3). Descriptor i of the child is fds[i] (-1: /dev/null); everything from
// count on is closed; own session; no signal blocked or ignored. Answers with the pid.
int clinux_spawn(const char *path, char *const argv[], char *const envp[], const int *fds, int count);

// Starts a program that is nobody's child: fork, setsid, fork, exec. Descriptors as in clinux_spawn; working
// directory /, umask 077, own session, no signal blocked or ignored. Answers with the pid after exec succeeded.
int clinux_spawn_detached(const char *path, char *const argv[], char *const envp[], const int *fds, int count);

// Starts a child that the kernel kills when the calling thread ends (prctl(2), PR_SET_PDEATHSIG), and otherwise as
// clinux_spawn_detached does. Answers with its pid after exec succeeded.
int clinux_spawn_tied(const char *path, char *const argv[], char *const envp[], const int *fds, int count);

// Two connected stream sockets, close-on-exec.
int clinux_socket_pair(int ends[2]);

// How many thousands of ticks the processor's time-stamp counter makes a second, measured over some 10 ms; 0 where there
// is no such counter.
unsigned clinux_tsc_khz(void);

#endif
