"""HTTP/1.1 and h2 on an accepted connection, as little as the peer needs: it says what was received, sends what it is
told, and breaks where it is told. The interface between here and the application is ASGI's.
"""

import asyncio
import socket
import struct

import h11
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

_READ = 65536
_DISCONNECT = {"type": "http.disconnect"}


async def serve(reader, writer, application, idle):
    """Until the connection ends. `application(scope, receive, send, abort)` is called for each request."""
    encryption = writer.get_extra_info("ssl_object")
    connection = Connection(reader, writer, application, idle, "https" if encryption else "http")
    try:
        first = await connection.read()
        if encryption is not None and encryption.selected_alpn_protocol() == "h2" or first.startswith(b"PRI * HTTP/2"):
            await HTTP2(connection).run(first)
        elif first:
            await HTTP1(connection).run(first)
    except (ConnectionError, TimeoutError, h11.RemoteProtocolError, h2.exceptions.ProtocolError):
        pass
    finally:
        writer.close()


class Connection:
    def __init__(self, reader, writer, application, idle, scheme):
        self.reader = reader
        self.writer = writer
        self.application = application
        self.idle = idle
        self.scheme = scheme
        self.socket = writer.get_extra_info("socket")
        if self.socket.family != socket.AF_UNIX:
            # Answers must not wait for each other.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def read(self, idle=True):
        return await asyncio.wait_for(self.reader.read(_READ), self.idle if idle else None)

    async def write(self, data):
        if self.writer.transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self.writer.write(data)
        await self.writer.drain()

    def abort(self):
        """A reset, not an orderly end, for every call of the connection."""
        if self.writer.transport.is_closing():
            return
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def scope(self, version, method, target, headers):
        path, _, query = target.partition(b"?")
        return {
            "type": "http",
            "http_version": version,
            "method": method.decode(),
            "scheme": self.scheme,
            "path": path.decode(),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": None,
            "extensions": {},
        }


class HTTP1:
    def __init__(self, connection):
        self.connection = connection
        self.state = h11.Connection(h11.SERVER)
        self.body_ended = False
        self.start = None

    async def run(self, first):
        self.state.receive_data(first)
        while True:
            event = self.state.next_event()
            if event is h11.NEED_DATA:
                self.state.receive_data(await self.connection.read())
            elif isinstance(event, h11.Request):
                headers = [(bytes(name), bytes(value)) for name, value in event.headers]
                scope = self.connection.scope("1.1", bytes(event.method), bytes(event.target), headers)
                self.body_ended = False
                await self.connection.application(scope, self.receive, self.send, self.connection.abort)
                if self.state.our_state is not h11.DONE or self.state.their_state is not h11.DONE:
                    return
                self.state.start_next_cycle()
            else:
                return

    async def receive(self):
        while True:
            event = h11.NEED_DATA if self.body_ended else self.state.next_event()
            if isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            if isinstance(event, h11.EndOfMessage):
                self.body_ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if event is not h11.NEED_DATA:
                return _DISCONNECT
            if self.state.they_are_waiting_for_100_continue:
                await self.connection.write(self.state.send(h11.InformationalResponse(status_code=100, headers=[])))
            try:
                data = await self.connection.read(idle=False)
            except ConnectionError:
                return _DISCONNECT
            if not data:
                return _DISCONNECT
            self.state.receive_data(data)

    async def send(self, message):
        if message["type"] == "http.response.start":
            # With the first of the body, in one piece.
            self.start = h11.Response(status_code=message["status"], headers=message["headers"])
            return
        data = b""
        if self.start is not None:
            data, self.start = self.state.send(self.start), None
        if message.get("body"):
            data += self.state.send(h11.Data(data=message["body"]))
        if not message.get("more_body"):
            data += self.state.send(h11.EndOfMessage())
        await self.connection.write(data)


class Stream:
    """One request of an h2 connection."""

    def __init__(self, protocol, number):
        self.protocol = protocol
        self.number = number
        self.received = asyncio.Queue()
        self.window = asyncio.Event()
        self.is_open = True
        self.ended = False

    async def receive(self):
        message, size = await self.received.get()
        if size and self.is_open:
            # What was taken, not what has arrived, is what the client may send again.
            self.protocol.state.acknowledge_received_data(size, self.number)
            await self.protocol.flush()
        if message is _DISCONNECT:
            self.close()
        return message

    def close(self):
        self.is_open = False
        self.window.set()
        self.received.put_nowait((_DISCONNECT, 0))

    async def send(self, message):
        state = self.protocol.state
        if not self.is_open:
            raise ConnectionResetError("the stream is closed")
        if message["type"] == "http.response.start":
            headers = [(b":status", str(message["status"]).encode()), *message["headers"]]
            state.send_headers(self.number, headers)
            return
        body = message.get("body", b"")
        while body:
            room = min(state.local_flow_control_window(self.number), state.max_outbound_frame_size, len(body))
            if room > 0:
                state.send_data(self.number, body[:room])
                body = body[room:]
            await self.protocol.flush()
            if room <= 0:
                self.window.clear()
                await self.window.wait()
            if not self.is_open:
                raise ConnectionResetError("the stream is closed")
        if not message.get("more_body"):
            self.ended = True
            state.end_stream(self.number)
        await self.protocol.flush()


class HTTP2:
    def __init__(self, connection):
        self.connection = connection
        configuration = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self.state = h2.connection.H2Connection(configuration)
        self.streams = {}
        self.tasks = set()

    async def flush(self):
        data = self.state.data_to_send()
        if data:
            await self.connection.write(data)

    async def run(self, data):
        self.state.initiate_connection()
        try:
            while data:
                for event in self.state.receive_data(data):
                    self.handle(event)
                await self.flush()
                data = await self.connection.read(idle=not self.streams)
        finally:
            for stream in list(self.streams.values()):
                stream.close()

    def handle(self, event):
        number = getattr(event, "stream_id", None)
        stream = self.streams.get(number)
        match event:
            case h2.events.RequestReceived():
                self.open(event)
            case h2.events.DataReceived():
                message = {"type": "http.request", "body": event.data, "more_body": True}
                if stream is not None:
                    stream.received.put_nowait((message, event.flow_controlled_length))
                elif event.flow_controlled_length:
                    self.state.acknowledge_received_data(event.flow_controlled_length, number)
            case h2.events.StreamEnded() if stream is not None:
                stream.received.put_nowait(({"type": "http.request", "body": b"", "more_body": False}, 0))
            case h2.events.StreamReset() if stream is not None:
                stream.close()
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for one in self.streams.values():
                    one.window.set()

    def open(self, event):
        pseudo = {name: value for name, value in event.headers if name.startswith(b":")}
        headers = [(name, value) for name, value in event.headers if not name.startswith(b":")]
        headers.append((b"host", pseudo.get(b":authority", b"")))
        scope = self.connection.scope("2", pseudo[b":method"], pseudo[b":path"], headers)
        stream = Stream(self, event.stream_id)
        self.streams[stream.number] = stream
        task = asyncio.get_running_loop().create_task(self.call(scope, stream))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def call(self, scope, stream):
        try:
            await self.connection.application(scope, stream.receive, stream.send, self.connection.abort)
            if stream.is_open and not stream.ended:
                self.state.reset_stream(stream.number, h2.errors.ErrorCodes.INTERNAL_ERROR)
                await self.flush()
        except (ConnectionError, h2.exceptions.ProtocolError):
            pass
        finally:
            self.streams.pop(stream.number, None)
            stream.close()
