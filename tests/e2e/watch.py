"""A relay between the edge and an origin that writes down every request, and can refuse some.

It speaks plain HTTP/1.1, one request after another on a connection, and changes nothing it lets through.
"""
import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Seen:
    """One request as the origin would have got it."""

    method: str
    target: str
    fields: list
    refused: bool = False
    status: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def path(self):
        return self.target.split('?', 1)[0]


class Broken(Exception):
    """The peer left or sent what is not HTTP."""


class Wire:
    """A socket with the few ways of reading that HTTP/1.1 needs."""

    def __init__(self, sock):
        self.sock, self.rest = sock, b''

    def more(self):
        piece = self.sock.recv(65536)
        self.rest += piece
        return bool(piece)

    def until(self, mark):
        while mark not in self.rest:
            if len(self.rest) > 1 << 20 or not self.more():
                raise Broken
        head, _, self.rest = self.rest.partition(mark)
        return head + mark

    def exactly(self, n, sink):
        while n:
            if not self.rest and not self.more():
                raise Broken
            piece, self.rest = self.rest[:n], self.rest[n:]
            n -= len(piece)
            sink(piece)

    def chunked(self, sink):
        while True:
            line = self.until(b'\r\n')
            sink(line)
            size = int(line.split(b';')[0], 16)
            if size == 0:
                break
            self.exactly(size + 2, sink)
        while True:  # trailers and the empty line
            line = self.until(b'\r\n')
            sink(line)
            if line == b'\r\n':
                return

    def to_end(self, sink):
        while self.rest or self.more():
            sink(self.rest)
            self.rest = b''


def split(head):
    """First line and fields of a head; names in lower case."""
    lines = head.decode('latin-1').split('\r\n')
    return lines[0], [(n.strip().lower(), v.strip()) for n, _, v in (x.partition(':') for x in lines[1:] if x)]


def one(fields, name):
    return next((v for n, v in fields if n == name), None)


class Watch:
    """Listens on a free port of loopback and relays to `origin` (host, port)."""

    def __init__(self, origin):
        self.origin, self.seen, self.refuse = origin, [], ()
        self.lock = threading.Lock()
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def count(self, prefix, method=None, since=0):
        """How many requests came for paths that begin so."""
        with self.lock:
            return sum(s.path.startswith(prefix) and method in (None, s.method) for s in self.seen[since:])

    def mark(self):
        """A place in the list, to count from."""
        with self.lock:
            return len(self.seen)

    def quiet(self, prefix, within=60):
        """Waits until every answer under `prefix` that has begun is over."""
        end = time.monotonic() + within
        with self.lock:
            waiting = [s for s in self.seen if s.path.startswith(prefix)]
        return all(s.done.wait(max(0, end - time.monotonic())) for s in waiting)

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client):
        with contextlib.suppress(OSError, Broken, ValueError), client:
            inward, outward = Wire(client), None
            try:
                while True:
                    head = inward.until(b'\r\n\r\n')
                    line, fields = split(head)
                    method, target, _ = line.split(' ', 2)
                    record = Seen(method, target, fields)
                    record.refused = record.path.startswith(self.refuse) if self.refuse else False
                    with self.lock:
                        self.seen.append(record)
                    try:
                        if record.refused:
                            record.status = 503
                            client.sendall(b'HTTP/1.1 503 Refused by the test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
                            return
                        if outward is not None and select.select([outward.sock], [], [], 0)[0]:
                            outward.sock.close()  # the origin has closed it, as it may between requests
                            outward = None
                        if outward is None:
                            outward = Wire(socket.create_connection(self.origin, 5))
                            outward.sock.settimeout(120)
                        if not self._exchange(inward, outward, head, record):
                            return
                    finally:
                        record.done.set()
            finally:
                if outward is not None:
                    outward.sock.close()

    def _exchange(self, inward, outward, head, record):
        """Relays one request and its answer; true if the connection can carry another."""
        up, down = outward.sock.sendall, inward.sock.sendall
        up(head)
        if 'chunked' in (one(record.fields, 'transfer-encoding') or ''):
            inward.chunked(up)
        else:
            inward.exactly(int(one(record.fields, 'content-length') or 0), up)
        while True:
            answer = outward.until(b'\r\n\r\n')
            line, fields = split(answer)
            record.status = int(line.split(' ')[1])
            down(answer)
            if record.status >= 200:
                break
        if record.method == 'HEAD' or record.status in (204, 304):
            pass
        elif 'chunked' in (one(fields, 'transfer-encoding') or ''):
            outward.chunked(down)
        elif one(fields, 'content-length') is not None:
            outward.exactly(int(one(fields, 'content-length')), down)
        else:
            outward.to_end(down)
            return False
        ends = (one(fields, 'connection') or '') + (one(record.fields, 'connection') or '')
        return 'close' not in ends.lower() and not line.startswith('HTTP/1.0')
