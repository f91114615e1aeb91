#define _GNU_SOURCE
#include "include/CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { max_descriptors = 16, first_spare = 64 };

static int answer(long result) {
    return result < 0 ? -errno : (int)result;
}

int clinux_pidfd_open(int pid) {
    return answer(syscall(SYS_pidfd_open, pid, 0));
}

int clinux_pidfd_send_signal(int pidfd, int signal) {
    return answer(syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
}

int clinux_lock(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return answer(fcntl(fd, F_OFD_SETLK, &lock));
}

int clinux_is_locked(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0) {
        return -errno;
    }
    return lock.l_type == F_UNLCK ? 0 : 1;
}

int clinux_memory_file(void) {
    return answer(memfd_create("snapwf", MFD_CLOEXEC));
}

int clinux_pipe(int ends[2]) {
    return answer(pipe2(ends, O_CLOEXEC));
}

int clinux_socket_pair(int ends[2]) {
    return answer(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
}

int clinux_owning_user_namespace(int namespace_fd) {
    int fd = ioctl(namespace_fd, NS_GET_USERNS);
    if (fd < 0) {
        return -errno;
    }
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

int clinux_open_beneath(int directory, const char *path) {
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    return answer(syscall(SYS_openat2, directory, path, &how, sizeof how));
}

static void close_all(const int *fds, int count) {
    for (int i = 0; i < count; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

// Copies the descriptors to numbers that no target number collides with.
static int lift(const int *fds, int count, int *lifted) {
    if (count < 3 || count > max_descriptors) {
        return -EINVAL;
    }
    for (int i = 0; i < count; i++) {
        int fd = fds[i] >= 0 ? fcntl(fds[i], F_DUPFD_CLOEXEC, first_spare) : -1;
        if (fds[i] < 0) {
            int null = open("/dev/null", O_RDWR | O_CLOEXEC);
            if (null >= 0) {
                fd = fcntl(null, F_DUPFD_CLOEXEC, first_spare);
                close(null);
            }
        }
        if (fd < 0) {
            int error = errno;
            close_all(lifted, i);
            return -error;
        }
        lifted[i] = fd;
    }
    return 0;
}

int clinux_spawn(const char *path, char *const argv[], char *const envp[], const int *fds, int count) {
    int lifted[max_descriptors];
    int error = lift(fds, count, lifted);
    if (error < 0) {
        return error;
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    for (int i = 0; i < count && error == 0; i++) {
        error = posix_spawn_file_actions_adddup2(&actions, lifted[i], i);
    }
    if (error == 0) {
        error = posix_spawn_file_actions_addclosefrom_np(&actions, count);
    }
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    pid_t pid = -1;
    if (error == 0) {
        error = posix_spawn(&pid, path, &actions, &attributes, argv, envp);
    }
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close_all(lifted, count);
    return error == 0 ? pid : -error;
}

struct report {
    int pid;    // of the grandchild, or 0
    int error;  // errno, or 0
};

// In the grandchild: nothing but async-signal-safe calls (signal-safety(7)), for the maker has threads.
static void become(
    const char *path, char *const argv[], char *const envp[], const int *lifted, int count, int report_fd) {
    for (int signal = 1; signal < NSIG; signal++) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        (void)sigaction(signal, &action, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    umask(077);
    int failed = chdir("/") != 0;
    for (int i = 0; i < count && !failed; i++) {
        failed = dup2(lifted[i], i) < 0;
    }
    if (!failed) {
        failed = dup3(report_fd, count, O_CLOEXEC) < 0;
        report_fd = failed ? report_fd : count;
    }
    if (!failed) {
        failed = syscall(SYS_close_range, (unsigned)(count + 1), ~0U, 0) != 0;
    }
    if (!failed) {
        execve(path, argv, envp);
    }
    struct report report = {.error = errno};
    (void)!write(report_fd, &report, sizeof report);
    _exit(127);
}

// The pid that the middle process reported, or the error of whoever failed.
static int read_reports(int fd) {
    struct report report;
    int pid = 0, error = 0;
    for (;;) {
        ssize_t size = read(fd, &report, sizeof report);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size != (ssize_t)sizeof report) {
            break;
        }
        pid = report.pid != 0 ? report.pid : pid;
        error = report.error != 0 ? report.error : error;
    }
    if (error != 0) {
        return -error;
    }
    return pid > 0 ? pid : -ECHILD;
}

int clinux_spawn_detached(const char *path, char *const argv[], char *const envp[], const int *fds, int count) {
    int lifted[max_descriptors], ends[2], report[2];
    int error = lift(fds, count, lifted);
    if (error < 0) {
        return error;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) {
        error = errno;
        close_all(lifted, count);
        return -error;
    }
    report[0] = fcntl(ends[0], F_DUPFD_CLOEXEC, first_spare);
    report[1] = fcntl(ends[1], F_DUPFD_CLOEXEC, first_spare);
    close(ends[0]);
    close(ends[1]);
    // No handler of the maker may run in a child.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t middle = report[0] < 0 || report[1] < 0 ? -1 : fork();
    if (middle == 0) {
        struct report mine = {0};
        setsid();
        pid_t pid = fork();
        if (pid == 0) {
            become(path, argv, envp, lifted, count, report[1]);
        }
        mine.pid = pid > 0 ? pid : 0;
        mine.error = pid < 0 ? errno : 0;
        (void)!write(report[1], &mine, sizeof mine);
        _exit(0);
    }
    error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close_all(lifted, count);
    if (report[1] >= 0) {
        close(report[1]);
    }
    int result = -error;
    if (middle > 0) {
        while (waitpid(middle, NULL, 0) < 0 && errno == EINTR) {
        }
        result = read_reports(report[0]);
    }
    if (report[0] >= 0) {
        close(report[0]);
    }
    return result;
}

int clinux_spawn_tied(const char *path, char *const argv[], char *const envp[], const int *fds, int count) {
    int lifted[max_descriptors], ends[2];
    int error = lift(fds, count, lifted);
    if (error < 0) {
        return error;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) {
        error = errno;
        close_all(lifted, count);
        return -error;
    }
    int report = fcntl(ends[1], F_DUPFD_CLOEXEC, first_spare);
    close(ends[1]);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t parent = getpid();
    pid_t pid = report < 0 ? -1 : fork();
    if (pid == 0) {
        // The parent may have ended before the kernel was asked.
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
            _exit(127);
        }
        setsid();
        become(path, argv, envp, lifted, count, report);
    }
    error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close_all(lifted, count);
    if (report >= 0) {
        close(report);
    }
    int result = -error;
    if (pid > 0) {
        // Nothing is reported where exec succeeded: the pipe is closed by it.
        int reported = read_reports(ends[0]);
        result = reported == -ECHILD ? pid : reported;
        if (result != pid) {
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
            }
        }
    }
    close(ends[0]);
    return result;
}

#if defined(__x86_64__)
struct moment {
    unsigned long long ticks;
    long long nanoseconds;
};

// Of several tries the one in which the least time passed between the two looks at the counter.
static struct moment look(void) {
    struct moment best = {0};
    unsigned long long narrowest = ~0ULL;
    for (int i = 0; i < 8; i++) {
        struct timespec now;
        unsigned long long before = __builtin_ia32_rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &now);
        unsigned long long after = __builtin_ia32_rdtsc();
        if (after - before < narrowest) {
            narrowest = after - before;
            best.ticks = before + (after - before) / 2;
            best.nanoseconds = now.tv_sec * 1000000000LL + now.tv_nsec;
        }
    }
    return best;
}

unsigned clinux_tsc_khz(void) {
    struct moment first = look();
    struct timespec pause = {.tv_nsec = 10000000};
    nanosleep(&pause, NULL);
    struct moment second = look();
    long long passed = second.nanoseconds - first.nanoseconds;
    if (passed <= 0 || second.ticks <= first.ticks) {
        return 0;
    }
    return (unsigned)((double)(second.ticks - first.ticks) * 1e6 / (double)passed);
}
#else
unsigned clinux_tsc_khz(void) {
    return 0;
}
#endif
