"""A client of the API, and the small words that the checks are written in."""

import asyncio
import os
import time

from connectrpc.code import Code
from connectrpc.codec import proto_binary_codec, proto_json_codec
from connectrpc.compression.gzip import GzipCompression
from connectrpc.compression.zstd import ZstdCompression
from connectrpc.errors import ConnectError
from depot.sandbox.v1 import command_pb, filesystem_pb, sandbox_pb
from depot.sandbox.v1.service_connect import SandboxServiceClient
from protobuf import Oneof
from pyqwest import Client, HTTPTransport, HTTPVersion

Status = sandbox_pb.SandboxStatus
DEADLINE_MS = 60_000
CHECKS = []


def check(body):
    CHECKS.append(body)
    return body


def ref(name):
    return sandbox_pb.SandboxRef(selector=Oneof("id", name))


def expect(truth, what):
    if not truth:
        raise AssertionError(what)


def same(found, wanted, what):
    expect(found == wanted, f"{what}: {found!r}, not {wanted!r}")


class Session:
    """A client, and the sandbox that most checks share."""

    def __init__(self, options):
        self.options = options
        self.headers = {}
        if options.token is not None:
            self.headers["authorization"] = f"Bearer {options.token}"
        if options.org is not None:
            self.headers["x-depot-org"] = options.org
        self.made = []
        self.id = None
        self.client = self.new_client()

    def new_client(self, codec=None, compression=None):
        codec, compression = codec or self.options.codec, compression or self.options.compression
        authority = None
        if self.options.ca:
            with open(self.options.ca, "rb") as file:
                authority = file.read()
        version = HTTPVersion.HTTP2 if self.options.http == "2" else HTTPVersion.HTTP1
        send = {"identity": None, "gzip": GzipCompression(), "zstd": ZstdCompression()}[compression]
        return SandboxServiceClient(
            self.options.url.rstrip("/"),
            codec=proto_json_codec() if codec == "json" else proto_binary_codec(),
            send_compression=send,
            accept_compression=[] if send is None else [send],
            timeout_ms=DEADLINE_MS,
            http_client=Client(HTTPTransport(http_version=version, tls_ca_cert=authority)),
        )

    async def create(self, **given):
        # A name is for people and may be unique: one of its own for each.
        given.setdefault("name", f"client-{os.getpid()}-{time.time_ns()}")
        request = sandbox_pb.CreateSandboxRequest(**given)
        sandbox = (await self.client.create_sandbox(request, headers=self.headers)).sandbox
        self.made.append(sandbox.sandbox_id)
        return sandbox

    async def get(self, name):
        return (await self.client.get_sandbox(ref(name), headers=self.headers)).sandbox

    async def until(self, name, wanted):
        end = time.monotonic() + 60
        while True:
            sandbox = await self.get(name)
            if sandbox.status in wanted:
                return sandbox
            expect(time.monotonic() < end, f"{name} stays {sandbox.status!r}: {sandbox.error_message}")
            await asyncio.sleep(0.05)

    async def ended(self, name):
        """Waits for the end. The sandbox then, or None from a server that forgets what has ended."""
        try:
            return await self.until(name, [Status.FINISHED, Status.CANCELLED, Status.FAILED])
        except ConnectError as error:
            expect(self.options.forgets and error.code == Code.NOT_FOUND, f"{error.code}: {error.message}")
            return None

    @property
    def over(self):
        """What a call is answered with that is about a sandbox which has ended."""
        return (Code.FAILED_PRECONDITION, Code.NOT_FOUND) if self.options.forgets else Code.FAILED_PRECONDITION

    async def running(self, **given):
        sandbox = await self.create(**given)
        return await self.until(sandbox.sandbox_id, [Status.RUNNING])

    async def events(self, *argv, **given):
        request = command_pb.RunCommandRequest(sandbox=ref(self.id), cmd=argv[0], args=list(argv[1:]), **given)
        return [event.event async for event in self.client.run_command(request, headers=self.headers)]

    async def run(self, *argv, **given):
        """Exit code, stdout, stderr."""
        told = await self.events(*argv, **given)
        same(told[0].field, "started", "the first event")
        same(told[-1].field, "finished", "the last event")
        text = {"stdout": b"", "stderr": b""}
        for event in told[1:-1]:
            if event.field in text:
                text[event.field] += event.value.data
                same(event.value.byte_offset, len(text[event.field]), f"byte_offset of {event.field}")
        return told[-1].value.exit_code, text["stdout"], text["stderr"]

    async def shell(self, script, **given):
        return await self.run("/bin/sh", "-c", script, **given)

    async def call(self, method, request):
        return await getattr(self.client, method)(request, headers=self.headers)

    def path(self, name):
        return f"{self.options.directory}/{name}"

    async def file(self, method, **given):
        """A file call by the name of its method: "mkdir" takes a MkdirRequest."""
        message = "".join(part.capitalize() for part in method.split("_"))
        request = getattr(filesystem_pb, message + "Request")(sandbox=ref(self.id), **given)
        return await self.call(method, request)

    async def write(self, path, pieces, **given):
        async def messages():
            init = filesystem_pb.WriteFileRequest.Init(sandbox=ref(self.id), path=path, **given)
            yield filesystem_pb.WriteFileRequest(input=Oneof("init", init))
            for piece in pieces:
                yield filesystem_pb.WriteFileRequest(input=Oneof("data", piece))

        return (await self.client.write_file(messages(), headers=self.headers)).bytes_written

    async def read(self, path, **given):
        request = filesystem_pb.ReadFileRequest(sandbox=ref(self.id), path=path, **given)
        return b"".join([part.data async for part in self.client.read_file(request, headers=self.headers)])

    async def fails(self, codes, awaitable):
        codes = codes if isinstance(codes, tuple) else (codes,)
        try:
            await awaitable
        except ConnectError as error:
            expect(error.code in codes, f"{error.code}: {error.message}; not one of {codes}")
            expect(error.message, f"{error.code} has no message")
            return error
        raise AssertionError(f"it worked, but {codes} was due")
