"""Commands."""

import asyncio
import hashlib

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from depot.sandbox.v1 import command_pb, sandbox_pb

from .session import check, expect, ref, same


@check
async def a_command_says_what_it_says(session):
    same(await session.run("/bin/echo", "a b", "c"), (0, b"a b c\n", b""), "echo")
    same(await session.shell("echo out; echo err >&2; exit 7"), (7, b"out\n", b"err\n"), "both, and 7")
    same(await session.shell("exit 255"), (255, b"", b""), "255")


@check
async def a_command_killed_by_a_signal_has_its_code(session):
    code, _, _ = await session.shell("kill -9 $$")
    same(code, 137, "exit code")


@check
async def a_command_that_is_not_there_says_so(session):
    try:
        code, _, error = await session.run("/nowhere/at-all")
        expect(code in (126, 127), f"exit code {code}: {error}")
    except ConnectError as error:
        expect(error.code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT), f"{error.code}: {error.message}")


@check
async def env_and_directory_are_the_commands_own(session):
    code, text, _ = await session.shell("echo $SHARED-$MINE-$BOTH; pwd", env={"MINE": "m", "BOTH": "own"}, cwd="/tmp")
    same((code, text), (0, b"s-m-own\n/tmp\n"), "env and directory")


@check
async def sudo_is_root(session):
    same((await session.run("id", "-u", sudo=True))[:2], (0, b"0\n"), "sudo")


@check
async def much_output_comes_whole(session):
    script = 'i=0; while [ $i -lt 40000 ]; do echo "line $i of many, long enough to matter"; i=$((i+1)); done'
    code, text, _ = await session.shell(script)
    wanted = b"".join(b"line %d of many, long enough to matter\n" % number for number in range(40000))
    same((code, hashlib.sha256(text).hexdigest()), (0, hashlib.sha256(wanted).hexdigest()), "the output")


@check
async def output_that_is_no_text_comes_whole(session):
    script = 'i=0; while [ $i -lt 256 ]; do printf "\\\\$(printf %03o $i)"; i=$((i+1)); done'
    same((await session.shell(script))[1], bytes(range(256)), "all bytes")


@check
async def output_comes_while_the_command_runs(session):
    request = command_pb.RunCommandRequest(
        sandbox=ref(session.id),
        cmd="/bin/sh",
        args=["-c", f"echo now; while [ ! -e {session.path('go')} ]; do sleep 0.02; done"],
    )
    gone = False
    async for event in session.client.run_command(request, headers=session.headers):
        if event.event.field == "stdout" and not gone:
            gone = True
            same(event.event.value.data, b"now\n", "the first output")
            await session.write(session.path("go"), [b""])
        last = event.event
    expect(gone, "no output")
    same((last.field, last.value.exit_code), ("finished", 0), "the end")


@check
async def a_detached_command_goes_on_alone(session):
    mark = session.path("detached")
    told = await session.events(
        "/bin/sh", "-c", f"sleep 0.2; echo done >{mark}.new; mv {mark}.new {mark}", detached=True
    )
    same([event.field for event in told], ["started"], "events")
    expect(told[0].value.cmd_id, "no cmd_id")
    for _ in range(500):
        if (await session.shell(f"cat {mark} 2>/dev/null"))[0] == 0:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did nothing")


@check
async def a_session_of_its_own_outlives_the_command(session):
    mark = session.path("session")
    await session.shell(f"setsid sh -c 'sleep 0.3; echo done >{mark}' >/dev/null 2>&1 </dev/null &")
    for _ in range(500):
        if (await session.shell(f"cat {mark} 2>/dev/null"))[1] == b"done\n":
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did nothing")


@check
async def a_command_in_a_dead_sandbox_is_refused(session):
    sandbox = await session.running()
    await session.call("kill_sandbox", sandbox_pb.KillSandboxRequest(sandbox=ref(sandbox.sandbox_id)))
    await session.ended(sandbox.sandbox_id)
    request = command_pb.RunCommandRequest(sandbox=ref(sandbox.sandbox_id), cmd="/bin/true")

    async def drain():
        async for _ in session.client.run_command(request, headers=session.headers):
            pass

    await session.fails(session.over, drain())


@check
async def many_commands_at_once(session):
    found = await asyncio.gather(*(session.shell(f"sleep 0.05; echo {number}") for number in range(16)))
    same([text for _, text, _ in found], [b"%d\n" % number for number in range(16)], "outputs")
