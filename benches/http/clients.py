"""Clients that no load generator offers. Each checks every answer, and says its figures as one line of JSON.

  clients.py handshakes PORT PATH LENGTH SECONDS    full TLS handshakes, one request each, one after the other
  clients.py idle PORT PATH LENGTH COUNT            holds COUNT TLS connections, each after one request
  clients.py pairs PORT FILE PATH...                a client for each path, and a second one while the first is served
"""
import json
import select
import socket
import ssl
import sys
import threading
import time

GRACE = 0.3  # seconds by which the second client of a pair comes later


def offer():
    """TLS as OPENSSL_CONF narrows it. Every connection is new: Python resumes a session only when told to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def dial(port, context=None):
    plain = socket.create_connection(('127.0.0.1', port), 20)
    return context.wrap_socket(plain) if context else plain


def ask(connection, path, *fields):
    lines = [f'GET {path} HTTP/1.1', f'Host: 127.0.0.1:{connection.getpeername()[1]}', *fields, '', '']
    connection.sendall('\r\n'.join(lines).encode())


def head_of(connection):
    """The head of an answer that must be a 200, and what came of its body."""
    got = b''
    while b'\r\n\r\n' not in got:
        piece = connection.recv(16384)
        if not piece:
            raise OSError('closed before an answer')
        got += piece
    head, _, rest = got.partition(b'\r\n\r\n')
    if not head.startswith(b'HTTP/1.1 200 '):
        raise OSError(f'answered {head[:60]!r}')
    return head, rest


def length_of_answer(connection):
    """Bytes of an answer's body, read to the length it tells."""
    head, rest = head_of(connection)
    length = next(int(line.split(b':')[1]) for line in head.split(b'\r\n') if line.lower().startswith(b'content-length:'))
    got = len(rest)
    while got < length:
        piece = connection.recv(65536)
        if not piece:
            raise OSError(f'closed after {got} of {length} bytes')
        got += len(piece)
    return got


def right(connection, path, length, *fields):
    ask(connection, path, *fields)
    if (got := length_of_answer(connection)) != length:
        raise OSError(f'{got} bytes of body, not {length}')


def handshakes(port, path, length, seconds):
    context, took, begun = offer(), [], time.monotonic()
    while (now := time.monotonic()) < begun + seconds:
        with dial(port, context) as connection:
            right(connection, path, length, 'Connection: close')
            if connection.session_reused or connection.cipher()[0] != 'TLS_AES_128_GCM_SHA256':
                raise OSError(f'not a full handshake with AES-128: {connection.cipher()}')
            took.append(time.monotonic() - now)
    took.sort()
    return dict(requests=len(took), worth=len(took), bytes=len(took) * length, p99_ms=took[len(took) * 99 // 100] * 1e3,
                requests_per_second=len(took) / (time.monotonic() - begun))


def idle(port, path, length, count):
    context, held = offer(), []
    for _ in range(count):
        held.append(dial(port, context))
        right(held[-1], path, length)
    print(json.dumps(dict(open=count)), flush=True)
    sys.stdin.readline()
    poll = select.poll()
    for connection in held:
        poll.register(connection, select.POLLRDHUP)
    closed = len(poll.poll(0))
    for connection in held[::50] if not closed else ():
        right(connection, path, length)
    return dict(open=count - closed)


def pairs(port, file, paths):
    with open(file, 'rb') as f:
        body = memoryview(f.read())
    first, second, wrong = [], [], []

    def take(path, waited):
        try:
            begun = time.monotonic()
            with dial(port) as connection:
                ask(connection, path, 'Connection: close')
                _, rest = head_of(connection)
                at, buffer, waits = len(rest), memoryview(bytearray(1 << 18)), not rest
                if rest != body[:at]:
                    raise OSError('other bytes')
                if not waits:
                    waited.append(time.monotonic() - begun)
                while n := connection.recv_into(buffer):
                    if waits:
                        waited.append(time.monotonic() - begun)
                        waits = False
                    if buffer[:n] != body[at:at + n]:
                        raise OSError(f'other bytes, or more, behind byte {at}')
                    at += n
                if at != len(body):
                    raise OSError(f'{at} bytes, not {len(body)}')
        except OSError as why:
            wrong.append(str(why))

    threads = [threading.Thread(target=take, args=(path, first)) for path in paths]
    later = [threading.Thread(target=take, args=(path, second)) for path in paths]
    for thread in threads:
        thread.start()
    time.sleep(GRACE)
    for thread in later:
        thread.start()
    for thread in threads + later:
        thread.join()
    if wrong:
        raise OSError(wrong[0])
    return dict(requests=2 * len(paths), worth=2 * len(paths), bytes=2 * len(paths) * len(body), first_byte_ms=sorted(second)[len(second) // 2] * 1e3)


def main():
    what, port, *rest = sys.argv[1:]
    try:
        if what == 'pairs':
            said = pairs(int(port), rest[0], rest[1:])
        else:
            said = {'handshakes': handshakes, 'idle': idle}[what](int(port), rest[0], int(rest[1]), int(rest[2]))
    except OSError as why:
        sys.exit(f'{what}: {why}')
    print(json.dumps(said))


if __name__ == '__main__':
    main()
