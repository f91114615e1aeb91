#define _GNU_SOURCE
#include "CGuest.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// A child's descriptors: 0, 1, 2, then its report.
enum { report_fd = 3, first_spare = 16 };

static int answer(long result) {
    return result < 0 ? -errno : (int)result;
}

static _Noreturn void fail(int report, int step, int error) {
    struct cguest_report words = {.step = step, .error = error};
    (void)!write(report, &words, sizeof words);
    _exit(127);
}

// A child as any program expects to begin: its own session, no signal blocked or ignored, and no descriptor but
// 0, 1, 2 and, close-on-exec, its report. -1 stands for /dev/null of the agent.
static int begin(const int fds[3], int report) {
    setsid();
    // Not the agent's, which comes before everything else.
    (void)setpriority(PRIO_PROCESS, 0, 0);
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        (void)sigaction(number, &action, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    int lifted[4];
    for (int i = 0; i < 4; i++) {
        int fd = i < 3 ? fds[i] : report;
        if (fd < 0) {
            fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        }
        lifted[i] = fcntl(fd, F_DUPFD_CLOEXEC, first_spare);
        if (lifted[i] < 0) {
            fail(report, CGUEST_STEP_SETUP, errno);
        }
    }
    for (int i = 0; i < 4; i++) {
        if (dup3(lifted[i], i, i < 3 ? 0 : O_CLOEXEC) < 0) {
            fail(lifted[3], CGUEST_STEP_SETUP, errno);
        }
    }
    return report_fd;
}

static void write_text(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
        (void)!write(file, text, strlen(text));
        close(file);
    }
}

static void enter(int root, int report) {
    if (fchdir(root) != 0 || chroot(".") != 0 || chdir("/") != 0) {
        fail(report, CGUEST_STEP_SETUP, errno);
    }
}

static _Noreturn void become(const struct cguest_command *command, int outer_report) {
    // The numbers that `begin` overwrites may be those of the root or the cgroup.
    int root = fcntl(command->root, F_DUPFD_CLOEXEC, first_spare);
    int cgroup = command->cgroup >= 0 ? fcntl(command->cgroup, F_DUPFD_CLOEXEC, first_spare) : -1;
    int report = begin(command->fds, outer_report);
    if (command->is_terminal && ioctl(0, TIOCSCTTY, 0) != 0) {
        fail(report, CGUEST_STEP_SETUP, errno);
    }
    if (cgroup >= 0 && write(cgroup, "0", 1) != 1) {
        fail(report, CGUEST_STEP_SETUP, errno);
    }
    // When memory ends a command ends for it; the agent, as the first process, is never chosen.
    write_text("/proc/self/oom_score_adj", "500");
    enter(root, report);
    (void)syscall(SYS_close_range, (unsigned)(report_fd + 1), ~0U, 0);
    if (chdir(command->directory) != 0) {
        fail(report, CGUEST_STEP_DIRECTORY, errno);
    }
    if (setgroups((size_t)command->group_count, command->groups) != 0 ||
        setresgid(command->gid, command->gid, command->gid) != 0 ||
        setresuid(command->uid, command->uid, command->uid) != 0) {
        fail(report, CGUEST_STEP_USER, errno);
    }
    umask(022);
    // execvpe(3) looks into this process's PATH.
    environ = (char **)command->environment;
    execvpe(command->arguments[0], command->arguments, command->environment);
    fail(report, CGUEST_STEP_EXEC, errno);
}

int cguest_start(const struct cguest_command *command, int report) {
    pid_t pid = fork();
    if (pid == 0) {
        become(command, report);
    }
    return answer(pid);
}

// The part of a path that stands aside while the file is written; empty when there is none.
static char aside[4200];

static void give_up(int number) {
    (void)number;
    if (aside[0] != 0) {
        unlink(aside);
    }
    _exit(126);
}

static void make_parents(char *path, int report) {
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0755) != 0 && errno != EEXIST) {
            fail(report, CGUEST_STEP_FILE, errno);
        }
        *slash = '/';
    }
}

static _Noreturn void fail_aside(int report, int error) {
    unlink(aside);
    fail(report, CGUEST_STEP_FILE, error);
}

static void copy_all(int from, int to, uint64_t limit, int report, int has_aside) {
    static char buffer[65536];
    uint64_t total = 0;
    for (;;) {
        ssize_t count = read(from, buffer, sizeof buffer);
        if (count == 0) {
            return;
        }
        int error = count < 0 ? errno : 0;
        if (count > 0 && (uint64_t)count > limit - total) {
            error = EFBIG;
        }
        for (ssize_t done = 0; done < count && error == 0;) {
            ssize_t written = write(to, buffer + done, (size_t)(count - done));
            if (written < 0) {
                error = errno;
            } else {
                done += written;
            }
        }
        if (error != 0 && has_aside) {
            fail_aside(report, error);
        }
        if (error != 0) {
            fail(report, CGUEST_STEP_FILE, error);
        }
        total += (uint64_t)count;
    }
}

static _Noreturn void write_file(int outer_root, const char *given, unsigned mode, int input, int outer_report) {
    int root = fcntl(outer_root, F_DUPFD_CLOEXEC, first_spare);
    int fds[3] = {input, -1, -1};
    int report = begin(fds, outer_report);
    enter(root, report);
    (void)syscall(SYS_close_range, (unsigned)(report_fd + 1), ~0U, 0);
    umask(0);
    char path[4096];
    size_t length = strlen(given);
    if (length >= sizeof path) {
        fail(report, CGUEST_STEP_FILE, ENAMETOOLONG);
    }
    memcpy(path, given, length + 1);
    char *name = strrchr(path, '/');
    if (path[0] != '/' || name[1] == 0) {
        fail(report, CGUEST_STEP_FILE, path[0] != '/' ? EINVAL : EISDIR);
    }
    make_parents(path, report);
    snprintf(aside, sizeof aside, "%.*s/.snapwf-%d.new", (int)(name - path), path, (int)getpid());
    struct sigaction action = {.sa_handler = give_up};
    (void)sigaction(SIGTERM, &action, NULL);
    int file = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) {
        int error = errno;
        aside[0] = 0;
        fail(report, CGUEST_STEP_FILE, error);
    }
    copy_all(0, file, UINT64_MAX, report, 1);
    if (fchmod(file, mode & 07777) != 0 || fsync(file) != 0) {
        fail_aside(report, errno);
    }
    // From here on it is done or not, and SIGTERM comes too late.
    (void)signal(SIGTERM, SIG_IGN);
    if (rename(aside, path) != 0) {
        fail_aside(report, errno);
    }
    *name = 0;
    int directory = open(name == path ? "/" : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || fsync(directory) != 0) {
        fail(report, CGUEST_STEP_FILE, errno);
    }
    _exit(0);
}

int cguest_start_writing(int root, const char *path, unsigned mode, int input, int report) {
    pid_t pid = fork();
    if (pid == 0) {
        write_file(root, path, mode, input, report);
    }
    return answer(pid);
}

static _Noreturn void read_file(int outer_root, const char *path, uint64_t limit, int output, int outer_report) {
    int root = fcntl(outer_root, F_DUPFD_CLOEXEC, first_spare);
    int fds[3] = {-1, output, -1};
    int report = begin(fds, outer_report);
    enter(root, report);
    (void)syscall(SYS_close_range, (unsigned)(report_fd + 1), ~0U, 0);
    // A FIFO without a writer must not hold it.
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) {
        fail(report, CGUEST_STEP_FILE, errno);
    }
    if (!S_ISREG(status.st_mode)) {
        fail(report, CGUEST_STEP_FILE, S_ISDIR(status.st_mode) ? EISDIR : EINVAL);
    }
    if (status.st_size > 0 && (uint64_t)status.st_size > limit) {
        fail(report, CGUEST_STEP_FILE, EFBIG);
    }
    copy_all(file, 1, limit, report, 0);
    _exit(0);
}

int cguest_start_reading(int root, const char *path, uint64_t limit, int output, int report) {
    pid_t pid = fork();
    if (pid == 0) {
        read_file(root, path, limit, output, report);
    }
    return answer(pid);
}

int cguest_start_syncing(int root, int outer_report) {
    pid_t pid = fork();
    if (pid == 0) {
        // syncfs(2) refuses a descriptor that only refers.
        int directory = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int fds[3] = {directory, -1, -1};
        int report = begin(fds, outer_report);
        (void)syscall(SYS_close_range, (unsigned)(report_fd + 1), ~0U, 0);
        if (directory < 0 || syncfs(0) != 0) {
            fail(report, CGUEST_STEP_FILE, errno);
        }
        _exit(0);
    }
    return answer(pid);
}

int cguest_reap(int *is_signal, int *number) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) {
        return answer(pid);
    }
    *is_signal = WIFSIGNALED(status);
    *number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    return pid;
}

static int set_nonblocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -errno : answer(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

int cguest_terminal(int root, int ends[2]) {
    ends[0] = cguest_open_in_root(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, 0);
    if (ends[0] < 0) {
        return ends[0];
    }
    int unlocked = 0;
    int result = answer(ioctl(ends[0], TIOCSPTLCK, &unlocked));
    ends[1] = result < 0 ? result : answer(ioctl(ends[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    result = ends[1] < 0 ? ends[1] : set_nonblocking(ends[0]);
    if (result < 0) {
        close(ends[0]);
        if (ends[1] >= 0) {
            close(ends[1]);
        }
    }
    return result;
}

int cguest_terminal_size(int terminal, unsigned rows, unsigned columns) {
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    return answer(ioctl(terminal, TIOCSWINSZ, &size));
}

int cguest_pipe(int ends[2], int stays) {
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    int result = set_nonblocking(ends[stays]);
    if (result < 0) {
        close(ends[0]);
        close(ends[1]);
    }
    return result;
}

int cguest_waiting(int fd) {
    int count = 0;
    int result = answer(ioctl(fd, FIONREAD, &count));
    return result < 0 ? result : count;
}
