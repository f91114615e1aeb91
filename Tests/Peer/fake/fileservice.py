"""The file calls of depot.sandbox.v1.SandboxService."""

import asyncio
import functools
import os

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from depot.sandbox.v1 import filesystem_pb as pb

from . import calls, files, isolation
from .service import Base, stream, unary

_CHUNK = 256 * 1024


def _given(request, field):
    return getattr(request, field) if request.has_field(field) else None


class FileService(Base):
    async def _inside(self, call, request, name, path, body, *arguments):
        """Carries a body out in the sandbox; its OSError is the client's."""
        sandbox = self.running(call, request.sandbox)
        if not sandbox.real:
            raise ConnectError(Code.FAILED_PRECONDITION, f"sandbox {sandbox.id} has no files")
        try:
            return await isolation.inside(sandbox.pid, request.sudo, functools.partial(body, *arguments))
        except OSError as error:
            raise files.failure(error, name, path) from None
        except isolation.ProcessGone:
            raise ConnectError(Code.FAILED_PRECONDITION, f"sandbox {sandbox.id} is not running") from None

    @unary
    async def mkdir(self, request, call):
        path = files.check(request.path)
        await self._inside(call, request, "mkdir", path, files.mkdir, path, request.recursive, _given(request, "mode"))
        return pb.MkdirResponse()

    @unary
    async def stat(self, request, call):
        path = files.check(request.path)
        follow = _given(request, "follow_symlinks") is not False
        return await self._inside(call, request, "stat", path, files.stat_path, path, follow)

    @unary
    async def read_dir(self, request, call):
        path = files.check(request.path)
        return await self._inside(call, request, "readdir", path, files.read_dir, path, request.with_file_types)

    @unary
    async def remove(self, request, call):
        path = files.check(request.path)
        arguments = (path, request.recursive, request.ignore_missing)
        await self._inside(call, request, "remove", path, files.remove, *arguments)
        return pb.RemoveResponse()

    @unary
    async def rename(self, request, call):
        source, target = files.check(request.from_path), files.check(request.to_path)
        await self._inside(call, request, "rename", source, os.rename, source, target)
        return pb.RenameResponse()

    @unary
    async def copy_file(self, request, call):
        source, target = files.check(request.from_path), files.check(request.to_path)
        await self._inside(call, request, "copy", source, files.copy, source, target, request.preserve_metadata)
        return pb.CopyFileResponse()

    @unary
    async def truncate(self, request, call):
        path = files.check(request.path)
        await self._inside(call, request, "truncate", path, os.truncate, path, request.size)
        return pb.TruncateResponse()

    @unary
    async def chmod(self, request, call):
        path = files.check(request.path)
        await self._inside(call, request, "chmod", path, os.chmod, path, request.mode)
        return pb.ChmodResponse()

    @unary
    async def chown(self, request, call):
        path = files.check(request.path)
        owner = [-1 if number is None else number for number in (_given(request, "uid"), _given(request, "gid"))]
        await self._inside(call, request, "chown", path, os.chown, path, *owner)
        return pb.ChownResponse()

    @unary
    async def symlink(self, request, call):
        path = files.check(request.link_path)
        await self._inside(call, request, "symlink", path, os.symlink, request.target, path)
        return pb.SymlinkResponse()

    @unary
    async def readlink(self, request, call):
        path = files.check(request.path)
        return pb.ReadlinkResponse(target=await self._inside(call, request, "readlink", path, os.readlink, path))

    @unary
    async def access(self, request, call):
        path = files.check(request.path)
        await self._inside(call, request, "access", path, files.access, path, request.mode)
        return pb.AccessResponse()

    @stream
    async def read_file(self, request, call):
        path = files.check(request.path)
        descriptor = await self._inside(call, request, "open", path, files.open_to_read, path)
        try:
            while True:
                data = await asyncio.to_thread(os.read, descriptor, _CHUNK)
                if not data:
                    break
                yield pb.ReadFileResponse(data=data)
        except OSError as error:
            raise files.failure(error, "read", path) from None
        finally:
            os.close(descriptor)
        call.finishing = True
        yield pb.ReadFileResponse(eof=True)

    async def write_file(self, request, ctx):
        call = calls.current()
        try:
            self.admit(call, ctx.request_headers)
            answer = await self._write(request, call)
        except ConnectError as error:
            call.outcome = error.code.value
            raise
        call.outcome = "ok"
        return answer

    async def _write(self, request, call):
        """In place: who reads meanwhile, or after a broken upload, sees a part."""
        first = await anext(aiter(request), None)
        if first is None or first.input is None or first.input.field != "init":
            raise ConnectError(Code.INVALID_ARGUMENT, "the first message of WriteFile must be init")
        init = first.input.value
        path = files.check(init.path)
        arguments = (path, _given(init, "mode"), init.append, init.create_directories)
        descriptor = await self._inside(call, init, "open", path, files.open_to_write, *arguments)
        written = 0
        try:
            async for message in request:
                if message.input is None or message.input.field != "data":
                    raise ConnectError(Code.INVALID_ARGUMENT, "messages after init must be data")
                await asyncio.to_thread(files.write_all, descriptor, message.input.value)
                written += len(message.input.value)
        except OSError as error:
            raise files.failure(error, "write", path) from None
        finally:
            os.close(descriptor)
            self.journal.write("wrote", sandbox=call.sandbox, org=call.org, path=path, bytes=written)
        return pb.WriteFileResponse(bytes_written=written)
