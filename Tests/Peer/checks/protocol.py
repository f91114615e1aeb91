"""The protocol, and who may use it."""

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from depot.sandbox.v1 import command_pb, sandbox_pb
from protobuf import Oneof

from .session import check, expect, ref, same


@check
async def every_codec_and_compression_says_the_same(session):
    sandbox = await session.get(session.id)
    for codec in ("proto", "json"):
        for compression in ("identity", "gzip"):
            client = session.new_client(codec, compression)
            found = (await client.get_sandbox(ref(session.id), headers=session.headers)).sandbox
            same(found, sandbox, f"{codec}, {compression}")
            request = command_pb.RunCommandRequest(sandbox=ref(session.id), cmd="/bin/echo", args=["x" * 5000])
            told = [event.event async for event in client.run_command(request, headers=session.headers)]
            text = b"".join(event.value.data for event in told if event.field == "stdout")
            same(text, b"x" * 5000 + b"\n", f"{codec}, {compression}: stdout")


@check
async def a_deadline_ends_a_call(session):
    request = command_pb.RunCommandRequest(sandbox=ref(session.id), cmd="sleep", args=["30"])

    async def drain():
        async for _ in session.client.run_command(request, headers=session.headers, timeout_ms=300):
            pass

    await session.fails((Code.DEADLINE_EXCEEDED, Code.CANCELED), drain())


@check
async def a_message_over_four_megabytes_is_refused_or_taken(session):
    path = session.path("one message")
    data = b"x" * (5 << 20)
    try:
        same(await session.write(path, [data]), len(data), "bytes_written")
    except ConnectError as error:
        expect(error.code in (Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT), f"{error.code}: {error.message}")


@check
async def who_may_not_call_is_told_so(session):
    if session.options.token is None:
        return
    for headers in ({}, {"authorization": "Bearer wrong"}):
        headers = {key: value for key, value in session.headers.items() if key != "authorization"} | headers
        error = await session.fails(
            Code.UNAUTHENTICATED, session.client.list_sandboxes(sandbox_pb.ListSandboxesRequest(), headers=headers)
        )
        expect(session.options.token not in error.message, "the token is in the message")

        async def drain():
            request = command_pb.RunCommandRequest(sandbox=ref(session.id), cmd="/bin/true")
            async for _ in session.client.run_command(request, headers=headers):
                pass

        await session.fails(Code.UNAUTHENTICATED, drain())
    if session.options.org is not None:
        headers = session.headers | {"x-depot-org": "somebody-else"}
        await session.fails(
            Code.PERMISSION_DENIED, session.client.list_sandboxes(sandbox_pb.ListSandboxesRequest(), headers=headers)
        )


@check
async def attach_is_not_there(session):
    command = command_pb.SandboxCommandExecutionRef(selector=Oneof("id", "cmd-0"))

    async def drain():
        request = command_pb.AttachCommandRequest(command=command)
        async for _ in session.client.attach_command(request, headers=session.headers):
            pass

    await session.fails((Code.UNIMPLEMENTED, Code.NOT_FOUND), drain())
