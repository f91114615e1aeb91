"""Files."""

import hashlib
import time

from connectrpc.code import Code
from depot.sandbox.v1 import filesystem_pb
from protobuf import Oneof

from .session import check, expect, same


@check
async def a_file_is_written_and_read(session):
    path = session.path("file")
    same(await session.write(path, [b"hello ", b"world"], mode=0o600), 11, "bytes_written")
    same(await session.read(path), b"hello world", "content")
    same(await session.write(path, [b"!"], append=True), 1, "bytes appended")
    same(await session.read(path), b"hello world!", "content after append")
    same(await session.write(path, [b"short"]), 5, "bytes of the second write")
    same(await session.read(path), b"short", "content after the second write")
    found = await session.file("stat", path=path)
    same((found.size, found.mode & 0o777, found.type), (5, 0o600, filesystem_pb.FileType.FILE), "stat")
    expect(found.uname and found.gname and abs(found.mtime_unix_seconds - time.time()) < 3600, f"stat: {found}")


@check
async def ten_megabytes_survive_the_way_there_and_back(session):
    data = b"".join(hashlib.sha512(str(number).encode()).digest() for number in range(10 * 16384))
    size = 1 << 20
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    path = session.path("large")
    same(await session.write(path, pieces), len(data), "bytes_written")
    code, text, _ = await session.run("sha256sum", path)
    same((code, text.split()[0]), (0, hashlib.sha256(data).hexdigest().encode()), "sha256sum in the sandbox")
    expect(await session.read(path) == data, "other bytes came back")


@check
async def an_empty_file_is_a_file(session):
    path = session.path("empty")
    same(await session.write(path, []), 0, "bytes_written")
    same(await session.read(path), b"", "content")


@check
async def directories_for_a_file_are_made_when_asked(session):
    path = session.path("deep/er/file")
    await session.fails(Code.NOT_FOUND, session.write(path, [b"x"]))
    same(await session.write(path, [b"x"], create_directories=True), 1, "bytes_written")


@check
async def directories_are_made_listed_and_removed(session):
    path = session.path("tree")
    await session.fails(Code.NOT_FOUND, session.file("mkdir", path=f"{path}/a/b"))
    await session.file("mkdir", path=f"{path}/a/b", recursive=True)
    await session.file("mkdir", path=f"{path}/a/b", recursive=True)
    await session.fails(Code.ALREADY_EXISTS, session.file("mkdir", path=f"{path}/a"))
    await session.write(f"{path}/file", [b"x"])
    await session.file("symlink", target="file", link_path=f"{path}/link")
    listed = await session.file("read_dir", path=path, with_file_types=True)
    Type = filesystem_pb.FileType
    found = sorted((entry.name, entry.type) for entry in listed.entries)
    same(found, [("a", Type.DIRECTORY), ("file", Type.FILE), ("link", Type.SYMLINK)], "entries")
    await session.fails(Code.FAILED_PRECONDITION, session.file("remove", path=path))
    await session.file("remove", path=path, recursive=True)
    await session.fails(Code.NOT_FOUND, session.file("stat", path=path))
    await session.fails(Code.NOT_FOUND, session.file("remove", path=path))
    await session.file("remove", path=path, ignore_missing=True)


@check
async def files_are_renamed_copied_and_truncated(session):
    first, second, third = (session.path(name) for name in ("first", "second", "third"))
    await session.write(first, [b"0123456789"], mode=0o640)
    await session.write(second, [b"old"])
    await session.file("rename", from_path=first, to_path=second)
    same(await session.read(second), b"0123456789", "renamed over")
    await session.fails(Code.NOT_FOUND, session.file("stat", path=first))
    await session.file("copy_file", from_path=second, to_path=third, preserve_metadata=True)
    same(await session.read(third), b"0123456789", "copied")
    same((await session.file("stat", path=third)).mode & 0o777, 0o640, "its mode")
    await session.file("truncate", path=third, size=4)
    same(await session.read(third), b"0123", "truncated")
    await session.file("truncate", path=third, size=6)
    same(await session.read(third), b"0123\0\0", "extended")
    await session.fails(Code.NOT_FOUND, session.file("rename", from_path=first, to_path=third))


@check
async def links_are_read_and_not_followed_when_told(session):
    target, link = session.path("target"), session.path("link")
    await session.write(target, [b"abc"])
    await session.file("symlink", target=target, link_path=link)
    same((await session.file("readlink", path=link)).target, target, "target")
    Type = filesystem_pb.FileType
    same((await session.file("stat", path=link, follow_symlinks=True)).type, Type.FILE, "followed")
    same((await session.file("stat", path=link, follow_symlinks=False)).type, Type.SYMLINK, "not followed")
    await session.fails(Code.ALREADY_EXISTS, session.file("symlink", target="x", link_path=link))
    await session.fails((Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION), session.file("readlink", path=target))


@check
async def rights_are_changed_and_asked_for(session):
    path = session.path("rights")
    await session.write(path, [b"#!/bin/sh\necho ran\n"])
    await session.file("chmod", path=path, mode=0o755)
    same((await session.file("stat", path=path)).mode & 0o7777, 0o755, "mode")
    same((await session.run(path))[:2], (0, b"ran\n"), "run")
    await session.file("access", path=path)
    await session.file("access", path=path, mode=5)
    await session.file("chmod", path=path, mode=0o644)
    await session.fails(Code.PERMISSION_DENIED, session.file("access", path=path, mode=1))
    await session.fails(Code.NOT_FOUND, session.file("access", path=session.path("no such")))


@check
async def owners_are_changed_by_root(session):
    path = session.path("owned")
    await session.write(path, [b"x"])
    owner = (await session.run("stat", "-c", "%u", path))[1].strip().decode()
    await session.file("chown", path=path, uid=int(owner), gid=int(owner), sudo=True)
    same((await session.run("stat", "-c", "%u:%g", path))[1], f"{owner}:{owner}\n".encode(), "owner")


@check
async def errors_of_files_have_details(session):
    path = session.path("no such file")
    error = await session.fails(Code.NOT_FOUND, session.read(path))
    found = [
        one.value(filesystem_pb.FileSystemErrorDetail)
        for one in error.details
        if "FileSystemErrorDetail" in one.type_name
    ]
    expect(found, f"no FileSystemErrorDetail in {[one.type_name for one in error.details]}")
    same(found[0].path, path, "path of the detail")
    expect(found[0].syscall, "no syscall in the detail")


@check
async def a_path_that_is_not_absolute_is_refused(session):
    await session.fails(Code.INVALID_ARGUMENT, session.file("stat", path="relative"))


@check
async def a_write_that_begins_with_data_is_refused(session):
    async def messages():
        yield filesystem_pb.WriteFileRequest(input=Oneof("data", b"x"))

    await session.fails(Code.INVALID_ARGUMENT, session.client.write_file(messages(), headers=session.headers))
