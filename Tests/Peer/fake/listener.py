"""Everything that can go wrong between a server and its client, between the connection and the application."""

import asyncio
import json
import os
import signal
import time

from . import wire
from .calls import CURRENT

PREFIX = "/depot.sandbox.v1.SandboxService/"
_CODES = {
    500: "internal",
    503: "unavailable",
    429: "resource_exhausted",
    401: "unauthenticated",
    403: "permission_denied",
}
_HTML = b"<!doctype html><title>Welcome</title><h1>Welcome</h1>\n"


class Cut(Exception):
    """The answer ends here, by a fault."""


class Listener:
    """Accepts connections and hands each call to `open_call`, the faults, and the application."""

    def __init__(self, application, open_call, close_call, control, idle):
        self.application = application
        self.open_call = open_call
        self.close_call = close_call
        self.control = control
        self.idle = idle
        self.calls = 0

    async def finish(self, seconds):
        """Lets calls that are under way end, for so long."""
        end = time.monotonic() + seconds
        while self.calls and time.monotonic() < end:
            await asyncio.sleep(0.01)

    async def accept(self, reader, writer):
        await wire.serve(reader, writer, self._handle, self.idle)

    async def _handle(self, scope, receive, send, abort):
        if scope["path"] == "/_control":
            await self.control(scope, receive, send)
            return
        call = self.open_call(scope)
        CURRENT.set(call)
        request = Request(receive)
        answer = Answer(call, request, send, abort)
        self.calls += 1
        try:
            await self._serve(call, scope, request, answer)
        except Cut as cut:
            answer.outcome = str(cut)
        except asyncio.CancelledError:
            answer.outcome = answer.outcome or "canceled"
            raise
        except ConnectionError:
            answer.outcome = answer.outcome or call.outcome or "disconnected"
        finally:
            self.calls -= 1
            self.close_call(call, answer.outcome or call.outcome or str(answer.status))

    async def _serve(self, call, scope, receive, answer):
        mode = call.settings["mode"]
        if mode == "html":
            await _drain(receive)
            await answer.reply(200, b"text/html; charset=utf-8", _HTML)
            return
        if not scope["path"].startswith(PREFIX) or call.method in call.settings["missing"]:
            await _drain(receive)
            await answer.reply(404, b"text/plain; charset=utf-8", b"404 page not found\n")
            return
        rule = call.rule or {}
        fault, when = rule.get("fault"), rule.get("when", "before")
        if fault == "slow":
            await asyncio.sleep(rule.get("seconds", 0.05))
        elif fault == "hang":
            await _until_disconnected(receive)
            raise Cut("hung")
        elif fault in ("status", "reset", "die") and when in ("before", "body"):
            await _drain(receive, rule.get("bytes", 0) if when == "body" else None)
            await self._break(rule, answer)
        elif fault in ("status", "reset", "die") and when == "after":
            await self.application(scope, receive, _nowhere)
            await self._break(rule, answer)
        await self.application(scope, receive, answer)

    async def _break(self, rule, answer):
        fault = rule["fault"]
        if fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "reset":
            answer.abort()
        status = rule.get("status", 503)
        headers = []
        if "retry_after" in rule:
            headers.append((b"retry-after", str(rule["retry_after"]).encode()))
        body = rule.get("body", "json")
        if body == "json":
            code = rule.get("code", _CODES.get(status, "unknown"))
            document = {"code": code, "message": rule.get("message", "by fault")}
            await answer.reply(status, b"application/json", json.dumps(document).encode(), headers)
        elif body == "html":
            await answer.reply(status, b"text/html", b"<h1>%d</h1>\n" % status, headers)
        elif body == "garbage":
            await answer.reply(status, b"application/proto", b"\xff" * 32, headers)
        else:
            await answer.reply(status, None, b"", headers)
        raise Cut(f"{status} by fault")


class Request:
    """The application's `receive`, which knows whether the client is still sending."""

    def __init__(self, receive):
        self.receive = receive
        self.is_open = True

    async def __call__(self):
        message = await self.receive()
        self.is_open = message["type"] == "http.request" and message.get("more_body", False)
        return message


class Answer:
    """The application's `send`, as far as the fault lets it."""

    def __init__(self, call, request, send, abort):
        self.call = call
        self.request = request
        self.send = send
        self.break_off = abort
        self.status = None
        self.messages = 0
        self.bytes = 0
        self.outcome = None

    async def forward(self, message):
        # An answer that ends before its request resets the connection, and may never be read. That is a fault, too,
        # but one that has to be asked for.
        is_last = message["type"] == "http.response.body" and not message.get("more_body")
        if is_last and self.request.is_open:
            await self.send(message | {"more_body": True})
            await _drain(self.request)
            message = message | {"body": b""}
        await self.send(message)

    async def reply(self, status, kind, body, headers=()):
        headers = list(headers) + [(b"content-length", str(len(body)).encode())]
        if kind is not None:
            headers.append((b"content-type", kind))
        self.status = status
        await self.forward({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await self.forward({"type": "http.response.body", "body": body, "more_body": False})

    def abort(self):
        self.outcome = "reset by fault"
        self.break_off()
        raise Cut(self.outcome)

    async def __call__(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
        rule = self.call.rule or {}
        fault = rule.get("fault")
        if message["type"] == "http.response.body":
            if fault == "cut":
                await self._cut(rule, message)
            elif fault == "reset" and rule.get("when") == "answer":
                await self._reset_within(rule, message)
            elif fault == "slow" and "chunk" in rule:
                await self._slowly(rule, message)
                return
            self.messages += 1
            self.bytes += len(message.get("body", b""))
        await self.forward(message)

    async def _cut(self, rule, message):
        """Before the message that the rule names. A stream's every message comes alone; the last one has flag 2."""
        body = message.get("body", b"")
        is_end = bool(body) and body[0] & 2
        at = rule.get("at", "finished")
        hit = {"started": self.messages == 1, "finished": self.call.finishing or is_end, "end": is_end}.get(at, False)
        if not (hit or (isinstance(at, int) and self.messages >= at)):
            return
        if rule.get("bytes"):
            await self.forward({"type": "http.response.body", "body": body[: rule["bytes"]], "more_body": True})
        if rule.get("how", "reset") == "reset":
            await asyncio.sleep(0)
            self.abort()
        await self.forward({"type": "http.response.body", "body": b"", "more_body": False})
        raise Cut("cut by fault")

    async def _reset_within(self, rule, message):
        body = message.get("body", b"")
        left = max(0, rule.get("bytes", 0) - self.bytes)
        if len(body) < left and message.get("more_body"):
            return
        await self.forward({"type": "http.response.body", "body": body[:left], "more_body": True})
        self.abort()

    async def _slowly(self, rule, message):
        body, size = message.get("body", b""), rule["chunk"]
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            await self.forward({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(rule.get("pause", 0.01))
        if not message.get("more_body"):
            await self.forward({"type": "http.response.body", "body": b"", "more_body": False})


async def _nowhere(message):
    """The answer of a call whose effect is all that is wanted."""


async def _drain(request, limit=None):
    """Reads the rest of the request, or so much of it."""
    seen = 0
    while request.is_open and (limit is None or seen < limit):
        seen += len((await request()).get("body", b""))


async def _until_disconnected(receive):
    while (await receive())["type"] == "http.request":
        pass
