#define _GNU_SOURCE
#include "CGuest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <net/route.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

// linux/module.h and fs/ext4/ext4.h, which older headers do not have.
#define COMPRESSED_MODULE 4
#define EXT4_RESIZE _IOW('f', 16, uint64_t)

static int answer(long result) {
    return result < 0 ? -errno : (int)result;
}

// Swift's runtime, linked in statically, looks for its own path in /proc before anything of Swift runs, and ends the process
// where it finds none. In a machine's first process nobody has mounted it yet.
__attribute__((constructor(101))) static void mount_proc_first(void) {
    if (getpid() == 1) {
        (void)mkdir("/proc", 0755);
        (void)mount("proc", "/proc", "proc", 0, "");
    }
}

int cguest_load_module(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return -errno;
    }
    size_t length = strlen(path);
    int is_plain = length > 3 && strcmp(path + length - 3, ".ko") == 0;
    int result = answer(syscall(SYS_finit_module, file, "", is_plain ? 0 : COMPRESSED_MODULE));
    close(file);
    return result == -EEXIST ? 0 : result;
}

uint64_t cguest_uptime(void) {
    struct timespec now = {0};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int cguest_child_signals(void) {
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &children, NULL) != 0) {
        return -errno;
    }
    signal(SIGPIPE, SIG_IGN);
    return answer(signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC));
}

void cguest_forget_signals(int signals) {
    struct signalfd_siginfo record;
    while (read(signals, &record, sizeof record) > 0) {
    }
}

int cguest_set_nice(int nice) {
    return answer(setpriority(PRIO_PROCESS, 0, nice));
}

int cguest_end_machine(int by_power_switch) {
    return answer(reboot(by_power_switch ? RB_POWER_OFF : RB_AUTOBOOT));
}

int cguest_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
    return answer(mount(source, target, type, flags, data));
}

int cguest_unmount(const char *target) {
    return answer(umount2(target, 0));
}

int cguest_detach(const char *target) {
    return answer(umount2(target, MNT_DETACH));
}

int cguest_grow(const char *mount_point, const char *device) {
    int disk = open(device, O_RDONLY | O_CLOEXEC);
    if (disk < 0) {
        return -errno;
    }
    uint64_t bytes = 0;
    int result = answer(ioctl(disk, BLKGETSIZE64, &bytes));
    close(disk);
    if (result < 0) {
        return result;
    }
    int root = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        return -errno;
    }
    struct statfs before, after;
    uint64_t blocks = 0;
    result = answer(fstatfs(root, &before));
    if (result == 0 && before.f_bsize > 0) {
        blocks = bytes / (uint64_t)before.f_bsize;
        result = answer(ioctl(root, EXT4_RESIZE, &blocks));
    }
    if (result == 0) {
        result = answer(fstatfs(root, &after));
    }
    close(root);
    return result < 0 ? result : after.f_blocks > before.f_blocks;
}

int cguest_open_in_root(int root, const char *path, int flags, unsigned mode) {
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    return answer(syscall(SYS_openat2, root, path, &how, sizeof how));
}

int cguest_refer_in_root(int root, const char *path) {
    return cguest_open_in_root(root, path, O_PATH, 0);
}

int cguest_make_directory(int root, const char *path, unsigned mode) {
    char prefix[4096];
    size_t length = strlen(path);
    if (length >= sizeof prefix) {
        return -ENAMETOOLONG;
    }
    int parent = cguest_open_in_root(root, "/", O_PATH | O_DIRECTORY, 0);
    size_t start = 0;
    while (parent >= 0 && start < length) {
        size_t end = start;
        while (end < length && path[end] != '/') {
            end++;
        }
        if (end > start) {
            char name[256];
            if (end - start >= sizeof name) {
                close(parent);
                return -ENAMETOOLONG;
            }
            memcpy(name, path + start, end - start);
            name[end - start] = 0;
            memcpy(prefix, path, end);
            prefix[end] = 0;
            // Through the root each time: a symbolic link on the way is resolved as the root's own processes do.
            int next = cguest_open_in_root(root, prefix, O_PATH | O_DIRECTORY, 0);
            if (next == -ENOENT) {
                int made = answer(mkdirat(parent, name, mode));
                // Made, but by no umask's leave.
                if (made == 0) {
                    made = answer(fchmodat(parent, name, mode, 0));
                }
                next = made < 0 && made != -EEXIST ? made : cguest_open_in_root(root, prefix, O_PATH | O_DIRECTORY, 0);
            }
            close(parent);
            parent = next;
        }
        start = end + 1;
    }
    return parent;
}

static int interface_request(unsigned long request, struct ifreq *interface) {
    int end = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (end < 0) {
        return -errno;
    }
    int result = answer(ioctl(end, request, interface));
    close(end);
    return result;
}

static struct ifreq interface_named(const char *name) {
    struct ifreq interface = {0};
    strncpy(interface.ifr_name, name, IFNAMSIZ - 1);
    return interface;
}

static struct sockaddr socket_address(uint32_t address) {
    struct sockaddr_in internet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    struct sockaddr any;
    memcpy(&any, &internet, sizeof any);
    return any;
}

int cguest_interface_up(const char *name) {
    struct ifreq interface = interface_named(name);
    int result = interface_request(SIOCGIFFLAGS, &interface);
    if (result < 0) {
        return result;
    }
    interface.ifr_flags |= IFF_UP;
    return interface_request(SIOCSIFFLAGS, &interface);
}

int cguest_interface_address(const char *name, uint32_t address, unsigned prefix_length) {
    struct ifreq interface = interface_named(name);
    interface.ifr_addr = socket_address(address);
    int result = interface_request(SIOCSIFADDR, &interface);
    if (result < 0) {
        return result;
    }
    interface = interface_named(name);
    interface.ifr_netmask = socket_address(prefix_length == 0 ? 0 : ~0U << (32 - (prefix_length & 31)) % 32);
    return interface_request(SIOCSIFNETMASK, &interface);
}

int cguest_default_route(uint32_t gateway) {
    struct rtentry route = {
        .rt_dst = socket_address(0),
        .rt_genmask = socket_address(0),
        .rt_gateway = socket_address(gateway),
        .rt_flags = RTF_UP | RTF_GATEWAY,
    };
    int end = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (end < 0) {
        return -errno;
    }
    int result = answer(ioctl(end, SIOCADDRT, &route));
    close(end);
    return result == -EEXIST ? 0 : result;
}
