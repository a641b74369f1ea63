"""Tripwire: a proxy that blocks and records every request to a host other than the double.

The client processes use it as HTTP_PROXY and HTTPS_PROXY, except for loopback. A request to another host therefore
fails at once, without a DNS request, and the test that caused it fails with the address.
"""

from __future__ import annotations

import socketserver
import threading


class Tripwire:
    def __init__(self):
        self.caught: list[str] = []  # "CONNECT host:443", "GET http://host/path"
        caught = self.caught

        class Handler(socketserver.StreamRequestHandler):
            timeout = 5

            def handle(self):
                line = self.rfile.readline(4096).decode("latin-1").split()
                caught.append(" ".join(line[:2]) or "an empty request")
                self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
