"""The origin: answers of the current version, and remembers who was asked for what."""
import collections
import re
import socket
import threading

from content import FRESH, HOSTS, body, etag

PIECE = 64 << 10


class Origin:
    """On a port of its own. A version belongs to a host's path and begins with 1."""

    def __init__(self):
        self.lock = threading.Lock()
        self.versions = collections.defaultdict(lambda: 1)
        self.asked = collections.Counter()
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            stream, _ = self.listener.accept()
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def version(self, host, path):
        with self.lock:
            return self.versions[host, path]

    def change(self, host, path):
        """The path has a new version; gives it."""
        with self.lock:
            self.versions[host, path] += 1
            return self.versions[host, path]

    def times_asked(self, host, path):
        with self.lock:
            return self.asked[host, path]

    def serve(self, stream):
        with stream, stream.makefile('rb') as requests:
            try:
                while head := self.head(requests):
                    self.answer(stream, *head)
            except OSError:  # the edge was killed
                pass

    @staticmethod
    def head(requests):
        line = requests.readline()
        if not line.endswith(b'\r\n'):
            return None
        fields = {}
        while (field := requests.readline()) not in (b'\r\n', b''):
            name, value = field.decode('latin-1').split(':', 1)
            fields[name.strip().lower()] = value.strip()
        return line.split()[1].decode(), fields

    def answer(self, stream, path, fields):
        host = fields.get('host', '')
        if host not in HOSTS:
            stream.sendall(b'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n')
            return
        with self.lock:
            self.asked[host, path] += 1
            version = self.versions[host, path]
        whole, tag = body(path, version), etag(path, version)
        head = [f'Cache-Control: {FRESH}', f'X-Version: {version}', 'Accept-Ranges: bytes', 'Content-Type: application/octet-stream']
        if tag:
            head.append(f'ETag: {tag}')
            if tag in fields.get('if-none-match', ''):
                stream.sendall('\r\n'.join(['HTTP/1.1 304 Not Modified', *head, '', '']).encode())
                return
        span = re.fullmatch(r'bytes=(\d+)-(\d*)', fields.get('range', ''))
        if span and fields.get('if-range', tag) == tag and int(span[1]) < len(whole):
            first, last = int(span[1]), min(int(span[2] or len(whole)), len(whole) - 1)
            self.send(stream, 'HTTP/1.1 206 Partial Content', [*head, f'Content-Range: bytes {first}-{last}/{len(whole)}'],
                      whole[first:last + 1], False)
        else:
            self.send(stream, 'HTTP/1.1 200 OK', head, whole, path.startswith('/chunked/'))

    @staticmethod
    def send(stream, status, head, data, chunked):
        framing = 'Transfer-Encoding: chunked' if chunked else f'Content-Length: {len(data)}'
        stream.sendall('\r\n'.join([status, *head, framing, '', '']).encode())
        for at in range(0, len(data), PIECE):
            piece = data[at:at + PIECE]
            stream.sendall(b'%x\r\n%b\r\n' % (len(piece), piece) if chunked else piece)
        if chunked:
            stream.sendall(b'0\r\n\r\n')
