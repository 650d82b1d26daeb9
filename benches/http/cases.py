"""What is asked of the servers: one class for each kind of case. Those on a disk are in `cases_on_disk`, the list in `blocks`.

A kind says how a server must be set, how it is made ready (filled, and proved to answer the right bytes), what one run is, and
which figures it gives, the first of which ranks.
"""
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count

import load
from cost import Meter, family, memory_kib
from origin import COLD, MANY, SIZES, SLOW
from process import Refused, Setup


@dataclass(frozen=True)
class Figure:
    key: str
    unit: str
    digits: int


CPU = Figure('cpu_us_per_request', 'µs of CPU per request', 1)
CPU_OF_BYTES = Figure('cpu_s_per_gb', 'CPU s per GB', 2)
RATE = Figure('requests_per_second', 'requests/s', 0)
LATE = Figure('p99_ms', '99th percentile in ms', 1)
FIRST_BYTE = Figure('first_byte_ms', "ms to the second client's first byte", 1)
ORIGIN = Figure('origin_requests', 'origin requests per body', 1)
IDLE = Figure('kib_per_connection', 'KiB per connection', 1)

# Requests whose answers are not stored yet: every run asks for other ones.
fresh = count(1)


ALL_BUT_TMPFS = ('lectern', 'nginx', 'nginx copying', 'haproxy', 'varnish', 'trafficserver')


class Case:
    """One row of the report."""

    group = ''
    name = ''
    setup = Setup()
    figures = (CPU, CPU_OF_BYTES, RATE, LATE)
    peers = ALL_BUT_TMPFS  # names of those it is for
    most_rounds = 99
    warms = True  # whether a run that does not count goes before

    @property
    def ranks(self):
        return self.figures[0].key

    def ready(self, server):
        """Fills and proves."""

    def run(self, server, seconds):
        """Figures of one run."""
        raise NotImplementedError


def measured(server, generate, fills=None, each_fill=False):
    """Figures of what `generate` does, with what it cost. `fills` tells how many requests may reach the origin, at
    least and at most; `each_fill`: the cost is that of one of those, answered to the end or not."""
    origin = server.origin
    server.empty_log()
    origin.forget()
    with Meter(server.pids) as meter:
        figures = generate()
        if fills:
            origin.quiet()
    requests, asked = figures['requests'], origin.asked()
    if not server.runs:
        raise Refused(f'{server.name} ended during the run')
    if not server.logged():
        raise Refused(f'{server.name} wrote no access log')
    least, most = fills(requests) if fills else (0, 0)
    if not least <= asked <= most:
        raise Refused(f'{asked} of {requests} requests reached the origin, not {f"{least} to {most}" if fills else "none: not all were hits"}')
    if each_fill:
        figures.update(worth=asked, bytes=figures['bytes'] / figures['worth'] * asked)
    return dict(figures, cpu_us_per_request=meter.cpu / figures['worth'] * 1e6, cpu_s_per_gb=meter.cpu / figures['bytes'] * 1e9,
                origin_requests=asked, cpu_seconds=meter.cpu, server_busy=meter.cpu / meter.wall)


PROTOCOLS = ('HTTP/1.1', 'HTTPS', 'HTTP/2')
LABELS = {'1 KB': 'f1k', '32 KB': 'f32k', '1 MB': 'f1m', '64 MB': 'f64m'}
# Connections of wrk; connections of h2load, and its windows (bits), so that they do not throttle a long body.
LOADS = {'f1k': (64, 32, None), 'f32k': (64, 32, None), 'f1m': (16, 8, (20, 22)), 'f64m': (2, 1, (20, 24))}
STREAMS = 10


class Hits(Case):
    """A stored response of one size, over one protocol."""

    group = 'hits'

    def __init__(self, protocol, label, setup=Setup(), more='', group='hits', peers=ALL_BUT_TMPFS):
        self.protocol, self.file, self.setup, self.group, self.peers = protocol, LABELS[label], setup, group, peers
        self.name = f'{protocol} {label}{more}'
        self.path, self.body, self.tls = f'/{self.file}', SIZES[self.file], protocol != 'HTTP/1.1'
        self.found = {}  # by server: the length of a head, or the rate over HTTP/2

    def ready(self, server):
        head = server.prove(self.path, server.origin.body(self.file), self.tls)
        self.found[server] = self.rate(server) if self.protocol == 'HTTP/2' else head

    def rate(self, server):
        """Requests a second, from a short run: then a run can be told a number that takes about its time."""
        _, connections, _ = LOADS[self.file]
        least = connections * STREAMS
        return self.ask_h2load(server, least * (1 if self.body > 1 << 20 else 10))['requests_per_second']

    def ask_h2load(self, server, requests):
        _, connections, windows = LOADS[self.file]
        return load.h2load(server, self.path, self.body, requests, connections, STREAMS, windows)

    def run(self, server, seconds):
        connections, h2_connections, _ = LOADS[self.file]
        if self.protocol == 'HTTP/2':
            requests = max(h2_connections * STREAMS, int(self.found[server] * seconds))
            return measured(server, lambda: self.ask_h2load(server, requests))
        return measured(server, lambda: load.wrk(server, self.path, self.body, self.found[server], seconds, connections, self.tls))


class Stored(Case):
    """Hits all over so many stored responses of 1 KB."""

    group = 'growth'
    peers = ('lectern', 'nginx')

    def __init__(self, stored):
        self.stored = stored
        self.name = f'HTTP/1.1 1 KB, {stored:,} stored'
        self.setup = Setup(store_mib=8192 if stored > 100_000 else 1024, use=f'{stored} stored')
        self.head = {}

    def ready(self, server):
        body, origin = server.origin.body('f1k'), server.origin
        self.head[server] = server.prove(f'{MANY}{self.stored}', body)
        origin.forget()
        load.fill(server, MANY, self.stored)
        origin.quiet()
        if (asked := origin.asked()) != self.stored:
            raise Refused(f'{asked} origin requests for {self.stored} responses')

    def run(self, server, seconds):
        return measured(server, lambda: load.wrk(server, MANY, SIZES['f1k'], self.head[server], seconds,
                                                 BENCH_UNDER=MANY, BENCH_AMONG=str(self.stored)))


class NewConnections(Case):
    """A TLS connection for each request. Full handshakes need a client of our own: wrk resumes its sessions."""

    group = 'connections'
    figures = (CPU, RATE, LATE)
    fields = (('Connection', 'close'),)

    def __init__(self, resumed):
        self.resumed, self.name = resumed, 'resumed TLS connection' if resumed else 'new TLS connection'
        self.head = {}

    def ready(self, server):
        server.prove('/f1k', server.origin.body('f1k'), tls=True)
        self.head[server] = server.get('/f1k', True, self.fields)[2]

    def run(self, server, seconds):
        size = SIZES['f1k']
        if self.resumed:
            return measured(server, lambda: load.wrk(server, '/f1k', size, self.head[server], seconds, tls=True, fields=self.fields))
        return measured(server, lambda: load.client(server, 'handshakes', server.https, '/f1k', size, 2 * seconds))


class ColdFills(Case):
    """Every request is for another URL, of 32 KB."""

    group = 'fills'
    peers = (*ALL_BUT_TMPFS, 'nginx tmpfs')
    name = 'cold fill 32 KB'
    connections = 64

    def __init__(self):
        self.head = {}

    def ready(self, server):
        self.head[server] = server.prove(f'{COLD}{next(fresh)}/0', server.origin.body('f32k'), times=1)

    def run(self, server, seconds):
        return self.filled(server, lambda: self.ask(server, seconds, f'{COLD}{next(fresh)}/'))

    def ask(self, server, seconds, under, **asks):
        return load.wrk(server, under, SIZES['f32k'], self.head[server], seconds, self.connections, BENCH_UNDER=under, **asks)

    def filled(self, server, generate):
        return measured(server, generate, fills=lambda requests: (requests, requests + self.connections), each_fill=True)


class SecondClient(Case):
    """A second client asks while the body comes slowly from the origin for the first one; two bodies of 16 MB at once."""

    group = 'second client'
    name = 'second client during a fill'
    figures = (FIRST_BYTE, ORIGIN, CPU_OF_BYTES)
    peers = ('lectern', 'nginx', 'haproxy', 'varnish', 'trafficserver')
    most_rounds = 3
    warms = False
    at_once = 2

    def run(self, server, seconds):
        paths = [f'{SLOW}{next(fresh)}' for _ in range(self.at_once)]
        figures = measured(server, lambda: load.client(server, 'pairs', server.http, server.origin.file('f16m'), *paths),
                           fills=lambda requests: (self.at_once, requests))
        return dict(figures, origin_requests=figures['origin_requests'] / self.at_once)


class IdleConnections(Case):
    """Resident memory that idle TLS connections take, each after one request, on a server just started."""

    group = 'idle'
    figures = (IDLE,)
    peers = ('lectern', 'nginx', 'haproxy', 'varnish', 'trafficserver')
    most_rounds = 1
    warms = False
    setup = Setup(use='idle')

    def __init__(self, connections):
        self.connections, self.name = connections, f'{connections:,} idle TLS connections'

    def ready(self, server):
        server.prove('/f1k', server.origin.body('f1k'), tls=True, times=20)

    def run(self, server, seconds):
        try:
            return self.held(server)
        except (Refused, OSError):
            server.stop()  # memory that was used and given back would hide what the next try takes
            raise

    def held(self, server):
        before = memory_kib(family(server.pids))
        command = load.command_line([sys.executable, load.HERE / 'clients.py', 'idle', server.https, '/f1k', SIZES['f1k'], self.connections])
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=load.environment(server)) as holder:
            try:
                load.reading(holder.stdout.readline())
                time.sleep(1)  # what follows a request (timers, frees) is done
                after = memory_kib(family(server.pids))
                held = load.reading(holder.communicate('now\n', timeout=60)[0])['open']
            finally:
                holder.kill()
        if held != self.connections:
            raise Refused(f'{held} of {self.connections} connections were still open')
        return dict(requests=held, kib_per_connection=(after - before) / held)
