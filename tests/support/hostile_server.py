"""An HTTP server on the loopback interface that does what servers and networks do when they misbehave.

A `Fault` says how one request is answered; when the faults are used up, the server is honest.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How one request is answered."""

    kind: str
    """The name of a method of `_Handler` without its `answer_`."""
    at: int = 0
    """Offset in the body, or a number the kind needs."""
    text: str = ""
    """A header's value, where the kind needs one."""


@dataclass
class Seen:
    """One request and what was sent for it."""

    path: str
    headers: dict[str, str]
    sent: int = 0
    """Bytes of the file in the answer."""


@dataclass
class HostileServer:
    """Serves `data` at every path; a context manager."""

    data: bytes
    faults: Sequence[Fault] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    """Other contents by path."""
    tagged: bool = True
    """Whether answers carry an entity tag."""
    heeds_if_range: bool = True
    only_files: bool = False
    """Whether every path that is not in `files` is missing."""
    piece_bytes: int = 1 << 16
    """Sent at a time."""
    pause_s: float = 0.0
    """Between two pieces."""
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._queue = list(self.faults)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address of the file."""
        return f"{self.address}/file.bin"

    @property
    def sha256(self) -> str:
        """The hash of `data`."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def sent(self) -> int:
        """Bytes of files sent in all answers."""
        return sum(request.sent for request in self.seen)

    def next_fault(self, request: Seen) -> Fault:
        """Take the next fault, and write down the request."""
        with self._lock:
            self.seen.append(request)
            return self._queue.pop(0) if self._queue else Fault(kind="honest")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    owner: HostileServer

    def server_bind(self) -> None:
        """Keep little in the send buffer, so that what is counted as sent was sent when a connection is reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 20
    disable_nagle_algorithm = True  # or every small answer takes 40 ms

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer as the next fault says."""
        owner = self.server.owner
        self.seen = Seen(path=self.path, headers=dict(self.headers.items()))
        fault = owner.next_fault(self.seen)
        self.data = owner.files.get(self.path, owner.data)
        if owner.only_files and self.path not in owner.files:
            self.reply(404, b"not here", count=False)
            return
        self.tag = f'"{hashlib.sha256(self.data).hexdigest()[:16]}"'
        self.offset = self.asked_offset()
        getattr(self, f"answer_{fault.kind}")(fault)

    def asked_offset(self) -> int:
        """The offset a Range header asks for, unless If-Range names another version."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        heeded = self.server.owner.heeds_if_range
        if found is None or (heeded and self.headers.get("If-Range", self.tag) != self.tag):
            return 0
        return int(found[1])

    def head(self, status: int, length: int | None, **headers: str) -> None:
        """Status and headers; None sends no length and closes the connection afterwards."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def head_for(self, data: bytes, offset: int, length: int | None = None, **headers: str) -> None:
        """The honest head of `data` from `offset` on, or one that claims another length."""
        headers = {**({"ETag": self.tag} if self.server.owner.tagged else {}), **headers}
        rest = len(data) - offset if length is None else length
        if "Range" in self.headers and offset:
            headers.setdefault("Content_Range", f"bytes {offset}-{offset + rest - 1}/{offset + rest}")
            self.head(206, rest, **headers)
        else:
            self.head(200, rest, **headers)

    def body(self, data: bytes, *, count: bool = True) -> None:
        """Send bytes, as fast as the server was told to."""
        owner = self.server.owner
        for begin in range(0, len(data), owner.piece_bytes):
            piece = data[begin : begin + owner.piece_bytes]
            self.wfile.write(piece)
            if count:
                self.seen.sent += len(piece)
            if owner.pause_s:
                time.sleep(owner.pause_s)

    def reply(self, status: int, data: bytes, *, count: bool = True, **headers: str) -> None:
        self.head(status, len(data), **headers)
        self.body(data, count=count)

    def hang_up(self, *, rudely: bool) -> None:
        """Close the connection; rudely is a reset, and what is still on its way may be lost."""
        self.close_connection = True
        self.wfile.flush()
        if rudely:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.connection.shutdown(socket.SHUT_WR)
        self.connection.close()

    def answer_honest(self, fault: Fault) -> None:
        if self.offset and self.offset >= len(self.data):
            self.head(416, 0, Content_Range=f"bytes */{len(self.data)}")
            return
        self.head_for(self.data, self.offset)
        self.body(self.data[self.offset :])

    def answer_drop(self, fault: Fault) -> None:
        self.head_for(self.data, self.offset)
        self.body(self.data[self.offset : self.offset + fault.at])
        self.hang_up(rudely=bool(fault.text))

    def answer_close(self, fault: Fault) -> None:
        self.hang_up(rudely=True)

    def answer_garbage(self, fault: Fault) -> None:
        self.wfile.write(random.Random(fault.at).randbytes(200) + b"\r\n\r\n")
        self.hang_up(rudely=False)

    def answer_wrong_range(self, fault: Fault) -> None:
        start = max(1, self.offset // 2)
        rest = self.data[start:]
        self.reply(206, rest, Content_Range=f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")

    def answer_range_lie(self, fault: Fault) -> None:
        """The right Content-Range over bytes from elsewhere."""
        self.head_for(self.data, self.offset)
        self.body(self.data[: len(self.data) - self.offset])

    def answer_part_of_range(self, fault: Fault) -> None:
        """206 for fewer bytes than there are; without a range, a whole answer."""
        if not self.offset:
            self.answer_honest(fault)
            return
        stop = min(len(self.data), self.offset + 1 + fault.at)
        headers = {"Content_Range": f"bytes {self.offset}-{stop - 1}/{len(self.data)}", "ETag": self.tag}
        self.reply(206, self.data[self.offset : stop], **headers)

    def answer_ignore_range(self, fault: Fault) -> None:
        self.reply(200, self.data, ETag=self.tag)

    def answer_unsatisfiable(self, fault: Fault) -> None:
        self.head(416, 0, Content_Range=f"bytes */{len(self.data)}")

    def answer_short(self, fault: Fault) -> None:
        """A shorter file, honestly announced."""
        self.reply(200, self.data[: max(0, len(self.data) - 1 - fault.at)])

    def answer_long(self, fault: Fault) -> None:
        self.reply(200, self.data + bytes(1 + fault.at))

    def answer_wrong_length(self, fault: Fault) -> None:
        """Announces more than it sends."""
        self.head_for(self.data, self.offset, length=len(self.data) - self.offset + 1 + fault.at)
        self.body(self.data[self.offset :])
        self.hang_up(rudely=False)

    def answer_no_length(self, fault: Fault) -> None:
        self.head(200, None)
        self.body(self.data)

    def answer_no_length_drop(self, fault: Fault) -> None:
        self.head(200, None)
        self.body(self.data[: fault.at])
        self.hang_up(rudely=False)

    def answer_chunked(self, fault: Fault) -> None:
        self.head_chunked()
        self.send_chunks(self.data)
        self.wfile.write(b"0\r\n\r\n")

    def answer_chunked_long(self, fault: Fault) -> None:
        self.head_chunked()
        self.send_chunks(self.data + bytes(1 + fault.at))
        self.wfile.write(b"0\r\n\r\n")

    def answer_chunked_drop(self, fault: Fault) -> None:
        self.head_chunked()
        self.send_chunks(self.data[: fault.at])
        self.hang_up(rudely=False)

    def head_chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_chunks(self, data: bytes) -> None:
        for begin in range(0, len(data), 50_000):
            piece = data[begin : begin + 50_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.seen.sent += len(piece)

    def answer_flip(self, fault: Fault) -> None:
        """One bit of the body is wrong."""
        rest = bytearray(self.data[self.offset :])
        if rest:
            rest[fault.at % len(rest)] ^= 1 << (fault.at % 8)
        self.head_for(self.data, self.offset)
        self.body(bytes(rest))

    def answer_slow(self, fault: Fault) -> None:
        rest = self.data[self.offset :]
        self.head_for(self.data, self.offset)
        step = max(1, len(rest) // 5)
        for begin in range(0, len(rest), step):
            self.body(rest[begin : begin + step])
            time.sleep(0.01)

    def answer_stall(self, fault: Fault) -> None:
        """Sends some, then nothing for longer than a test waits."""
        self.head_for(self.data, self.offset)
        self.body(self.data[self.offset : self.offset + fault.at])
        time.sleep(0.2)
        self.hang_up(rudely=True)

    def answer_status(self, fault: Fault) -> None:
        headers = {"Retry_After": fault.text} if fault.text else {}
        self.reply(fault.at, b"<html>sorry</html>", count=False, **headers)

    def answer_page(self, fault: Fault) -> None:
        """What a portal of a hotel sends instead of the file."""
        self.reply(200, b"<html>log in first</html>", count=False, Content_Type="text/html")

    def answer_redirect(self, fault: Fault) -> None:
        self.reply(fault.at or 302, b"", count=False, Location=fault.text or self.path)

    def answer_gzip(self, fault: Fault) -> None:
        """Compressed although nobody asked for it."""
        self.reply(200, gzip.compress(self.data, 1), count=False, Content_Encoding="gzip", ETag=self.tag)

    def answer_gzip_drop(self, fault: Fault) -> None:
        data = gzip.compress(self.data, 1)
        self.head(200, len(data), Content_Encoding="gzip")
        self.body(data[: fault.at % (len(data) + 1)], count=False)
        self.hang_up(rudely=False)

    def answer_gzip_lie(self, fault: Fault) -> None:
        """Says it is compressed, and is not."""
        self.reply(200, self.data, Content_Encoding="gzip")

    def answer_changed(self, fault: Fault) -> None:
        """Another version of the file, of the same length, under another tag."""
        other = bytes(byte ^ 0xFF for byte in self.data)
        self.tag = '"another"'
        offset = self.asked_offset()
        self.head_for(other, offset)
        self.body(other[offset:])


KINDS = (
    *("drop", "close", "garbage", "wrong_range", "range_lie", "part_of_range", "ignore_range", "unsatisfiable"),
    *("short", "long", "wrong_length", "no_length", "no_length_drop", "chunked", "chunked_long", "chunked_drop"),
    *("flip", "slow", "stall", "status", "page", "redirect", "gzip", "gzip_drop", "gzip_lie", "changed", "honest"),
)
STATUSES = (400, 401, 403, 404, 408, 410, 418, 425, 429, 500, 502, 503, 504)


def draw_fault(rng: random.Random, size: int) -> Fault:
    """A random fault for a file of `size` bytes; broken transfers come most often."""
    kind = rng.choice(KINDS + ("drop",) * 8)
    at, text = rng.randint(0, size), ""
    if kind in ("short", "long", "chunked_long", "wrong_length"):
        at = rng.choice((0, 1, 1000))
    elif kind == "status":
        at, text = rng.choice(STATUSES), rng.choice(("", "0", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"))
    elif kind == "redirect":
        at = rng.choice((301, 302, 303, 307, 308))
        text = rng.choice(("", "", "/moved", "//[", "ftp://127.0.0.1/x", "file:///etc/passwd"))
    elif kind == "drop":
        text = rng.choice(("", "rudely"))
    return Fault(kind=kind, at=at, text=text)
