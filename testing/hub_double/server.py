"""Server: HTTP/1.1 with keep-alive on loopback, with one thread for each connection, and the effects of faults.

A request is read completely, `Double.respond` returns the reply, the log is written, and the reply is sent. Nagle's
algorithm is off, because it would delay each reply by 40 ms.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from testing.hub_double.faults import Cut, Delay, LostReply, Reset, ResetMidBody, Silence, Status
from testing.hub_double.log import Entry
from testing.hub_double.wire import Refusal, Reply, Request

if TYPE_CHECKING:
    from testing.hub_double.double import Double


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: Double, origin: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub, self.origin = hub, origin
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True, name=f"double-{origin}").start()

    def handle_error(self, request, client_address) -> None:
        """Records a crash. A client that disconnected is ignored, because tests kill clients."""
        error = traceback.format_exc()
        if "ConnectionResetError" not in error and "BrokenPipeError" not in error:
            self.hub.crashes.append(error)

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def exchange(self) -> None:
        hub, fault = self.server.hub, self.server.hub.faults.next_fault(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if isinstance(fault, Reset):
            return self.drop(fault, received=0)
        if isinstance(fault, ResetMidBody) and length:
            return self.drop(fault, received=len(self.rfile.read(min(fault.after, length))))
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, path, query, headers, self.rfile.read(length))
        if len(request.body) < length:
            # The client ended while it sent the request, so the request is incomplete and not applied.
            return self.drop(None, received=len(request.body))
        if isinstance(fault, Delay):
            time.sleep(fault.seconds)
        if isinstance(fault, Silence) and select.select([self.connection], [], [], fault.seconds)[0]:
            return self.drop(fault, received=length)  # The client has disconnected.
        if isinstance(fault, Status):
            reply = Refusal(fault.status, "a fault was injected", headers=fault.headers).reply()
        else:
            reply = self.decide(hub, request)
        if isinstance(fault, LostReply):
            return self.drop(fault, received=length)
        body = b"" if self.command == "HEAD" else reply.body
        if isinstance(fault, Cut | ResetMidBody):
            body = body[: fault.after]
        self.note(fault, received=length, status=reply.status, sent=len(body))
        self.send(reply, body)
        if isinstance(fault, Cut):
            self.close_connection = True
        if isinstance(fault, ResetMidBody):
            time.sleep(0.05)  # Otherwise the reset would discard bytes that the client has not read yet.
            self.reset()
        return None

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = exchange

    def decide(self, hub: Double, request: Request) -> Reply:
        if "transfer-encoding" in request.headers:
            return Refusal(411, "the double cannot read chunked bodies").reply()
        try:
            return hub.respond(self.server.origin, request)
        except Exception:
            hub.crashes.append(f"{request.method} {request.path}\n{traceback.format_exc()}")
            return Refusal(500, "the double crashed").reply()

    def send(self, reply: Reply, body: bytes) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def drop(self, fault, *, received: int) -> None:
        self.note(fault, received=received, status=None, sent=0)
        self.reset()

    def reset(self) -> None:
        """Ends the connection with RST instead of FIN."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # Closing the socket object would wait for its readers and send FIN.

    def note(self, fault, *, received: int, status: int | None, sent: int) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        name = type(fault).__name__ if fault else None
        entry = Entry(self.server.origin, self.command, self.path, headers, received, status, sent, name)
        self.server.hub.log.append(entry)

    def log_message(self, *parts) -> None:
        """Prints nothing, because requests are recorded in `Double.log`."""
