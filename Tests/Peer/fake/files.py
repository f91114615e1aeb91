"""The file calls. Each body runs as the caller, with the sandbox's files: see isolation.inside."""

import errno
import os
import shutil
import stat

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from depot.sandbox.v1 import filesystem_pb as pb

_CODES = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.EEXIST: Code.ALREADY_EXISTS,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.EROFS: Code.PERMISSION_DENIED,
    errno.EINVAL: Code.INVALID_ARGUMENT,
    errno.ENAMETOOLONG: Code.INVALID_ARGUMENT,
    errno.ENOTDIR: Code.FAILED_PRECONDITION,
    errno.EISDIR: Code.FAILED_PRECONDITION,
    errno.ENOTEMPTY: Code.FAILED_PRECONDITION,
    errno.ELOOP: Code.FAILED_PRECONDITION,
    errno.ENOSPC: Code.RESOURCE_EXHAUSTED,
}
_TYPES = {
    stat.S_IFREG: pb.FileType.FILE,
    stat.S_IFDIR: pb.FileType.DIRECTORY,
    stat.S_IFLNK: pb.FileType.SYMLINK,
    stat.S_IFBLK: pb.FileType.BLOCK_DEVICE,
    stat.S_IFCHR: pb.FileType.CHARACTER_DEVICE,
    stat.S_IFIFO: pb.FileType.FIFO,
    stat.S_IFSOCK: pb.FileType.SOCKET,
}


def failure(error, call, path):
    """What the client gets for an OSError."""
    detail = pb.FileSystemErrorDetail(
        code=error.errno or 0, syscall=call, path=path, message=os.strerror(error.errno or 0)
    )
    return ConnectError(_CODES.get(error.errno, Code.INTERNAL), f"{call} {path}: {error.strerror}", details=[detail])


def check(path):
    if not path.startswith("/") or "\0" in path:
        raise ConnectError(Code.INVALID_ARGUMENT, f"path {path!r} is not absolute")
    return path


def file_type(mode):
    return _TYPES.get(stat.S_IFMT(mode), pb.FileType.UNSPECIFIED)


def _name(table, number):
    """By the sandbox's own tables."""
    try:
        with open(table) as file:
            for line in file:
                fields = line.split(":")
                if len(fields) > 2 and fields[2] == str(number):
                    return fields[0]
    except OSError:
        pass
    return str(number)


def mkdir(path, recursive, mode):
    if recursive:
        os.makedirs(path, exist_ok=True)
    else:
        os.mkdir(path)
    if mode is not None:
        os.chmod(path, mode)


def stat_path(path, follow):
    found = os.stat(path, follow_symlinks=follow)
    return pb.StatResponse(
        path=path,
        size=found.st_size,
        mode=stat.S_IMODE(found.st_mode),
        type=file_type(found.st_mode),
        uname=_name("/etc/passwd", found.st_uid),
        gname=_name("/etc/group", found.st_gid),
        mtime_unix_seconds=int(found.st_mtime),
    )


def read_dir(path, with_types):
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    return pb.ReadDirResponse(
        entries=[
            pb.ReadDirResponse.Entry(
                name=entry.name,
                type=file_type(entry.stat(follow_symlinks=False).st_mode) if with_types else pb.FileType.UNSPECIFIED,
            )
            for entry in found
        ]
    )


def remove(path, recursive, ignore_missing):
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
        elif recursive:
            shutil.rmtree(path)
        else:
            os.rmdir(path)
    except FileNotFoundError:
        if not ignore_missing:
            raise


def copy(source, target, preserve):
    if os.path.isdir(source):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), source)
    shutil.copyfile(source, target)
    if preserve:
        shutil.copystat(source, target)
        found = os.stat(source)
        if os.geteuid() == 0:
            os.chown(target, found.st_uid, found.st_gid)


def access(path, mode):
    os.stat(path)
    if mode and not os.access(path, mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def open_to_read(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return descriptor


def open_to_write(path, mode, append, create_directories):
    if create_directories:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if append else os.O_TRUNC)
    descriptor = os.open(path, flags, 0o644)
    if mode is not None:
        os.fchmod(descriptor, mode)
    return descriptor


def write_all(descriptor, data):
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
