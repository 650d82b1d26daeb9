"""One run of a load generator against one server, and what it cost the server's processes."""
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass

TICKS = os.sysconf('SC_CLK_TCK')
SERVER_CORE, GENERATOR_CORE = '0', '1'


@dataclass(frozen=True)
class Case:
    """A protocol and a body size."""

    protocol: str  # 'HTTP/1.1', 'HTTPS', 'HTTP/2'
    file: str
    label: str

    @property
    def name(self):
        return f'{self.protocol} {self.label}'

    @property
    def tls(self):
        return self.protocol != 'HTTP/1.1'


SIZES = {'1 KB': ('f1k', 1 << 10), '32 KB': ('f32k', 32 << 10), '1 MB': ('f1m', 1 << 20)}
CASES = [Case(p, file, label) for p in ('HTTP/1.1', 'HTTPS', 'HTTP/2') for label, (file, _) in SIZES.items()]


class Invalid(Exception):
    """A run whose figures say nothing: errors, or requests that were not hits."""


def family(pid):
    """A process and all that descend from it."""
    children = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open(f'/proc/{entry}/stat') as f:
                    parent = int(f.read().rsplit(')', 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, todo = set(), [pid]
    while todo:
        p = todo.pop()
        if p not in found:
            found.add(p)
            todo += children.get(p, [])
    return found


def cpu_seconds(pids):
    """User and system time of processes, all their threads included."""
    ticks = 0
    for pid in pids:
        try:
            with open(f'/proc/{pid}/stat') as f:
                fields = f.read().rsplit(')', 1)[1].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def milliseconds(text):
    number, unit = re.fullmatch(r'([\d.]+)(us|ms|s|m)', text).groups()
    return float(number) * {'us': 1e-3, 'ms': 1, 's': 1e3, 'm': 6e4}[unit]


UNITS = {'': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}


class Meter:
    """CPU time of a server's processes over a `with` block."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        self.pids = family(self.pid)
        self.cost, self.begun = -cpu_seconds(self.pids), time.monotonic()

    def __exit__(self, *_):
        self.cost += cpu_seconds(self.pids)
        self.wall = time.monotonic() - self.begun


def run(case, server, origin, seconds):
    """Figures of one run. `server` has pid, http and https ports; `origin` counts its log lines."""
    url = f'http{"s" if case.tls else ""}://127.0.0.1:{server.https if case.tls else server.http}/{case.file}'
    server.empty_log()
    lines, meter = origin.lines(), Meter(server.pid)
    figures = (h2load if case.protocol == 'HTTP/2' else wrk)(case, url, seconds, meter)
    if server.process.poll() is not None:
        raise Invalid(f'{server.name} ended during the run')
    if not server.logged():
        raise Invalid(f'{server.name} wrote no access log')
    if fills := origin.lines() - lines:
        raise Invalid(f'{fills} requests reached the origin: not all were hits')
    figures.update(cpu_us_per_request=meter.cost / figures['requests'] * 1e6, cpu_s_per_gb=meter.cost / figures['bytes'] * 1e9,
                   server_busy=meter.cost / meter.wall)
    return figures


def generate(command, within):
    """What a generator says; it is ended when it does not end itself."""
    try:
        done = subprocess.run(['taskset', '-c', GENERATOR_CORE, *command], capture_output=True, text=True, timeout=within)
    except subprocess.TimeoutExpired:
        raise Invalid(f'{command[0]} did not end within {within} s') from None
    return done.stdout + done.stderr


def wrk(case, url, seconds, meter):
    connections = '16' if case.file == 'f1m' else '64'
    with meter:
        out = generate(['wrk', '-t', '1', '-c', connections, '-d', f'{seconds}s', '--timeout', '20s', '--latency', url], seconds + 30)
    total = re.search(r'(\d+) requests in ([\d.]+\w+), ([\d.]+)(\w?)B read', out)
    late = re.search(r'^\s+99%\s+(\S+)', out, re.M)
    if not total or not late or total[1] == '0':
        raise Invalid(f'wrk said: {out[-500:]}')
    if bad := re.search(r'Non-2xx or 3xx responses: \d+|Socket errors: .*', out):
        raise Invalid(bad[0])
    return dict(requests=int(total[1]), requests_per_second=int(total[1]) / (milliseconds(total[2]) / 1e3),
                bytes=float(total[3]) * UNITS[total[4]], p99_ms=milliseconds(late[1]))


def h2load(case, url, seconds, meter):
    """A number of requests that takes about so long: with a duration instead, h2load at times does not end."""
    big = case.file == 'f1m'
    command = ['h2load', '-t', '1', '-c', '8' if big else '32', '-m', '10']
    if big:  # windows that do not throttle a body of this size
        command += ['-w', '20', '-W', '22']
    # h2load tells no percentiles; its log does, but writing it costs: so a short run of its own, which tells the rate too.
    with tempfile.NamedTemporaryFile() as log:
        rate = finished(generate([*command, '-n', '160' if big else '6400', f'--log-file={log.name}', url], 60))[0]
        took = sorted(int(line.split()[2]) for line in log.read().decode().splitlines())
    command += ['-n', str(max(320, int(rate * seconds))), url]
    with meter:
        out = generate(command, seconds * 10 + 60)
    rate, requests, data = finished(out)
    return dict(requests=requests, requests_per_second=rate, bytes=data,
                p99_ms=took[len(took) * 99 // 100] / 1e3 if took else None)


def finished(out):
    """(requests per second, requests, body bytes) of a run in which all went well."""
    rate = re.search(r'finished in [\d.]+\w+, ([\d.]+) req/s', out)
    count = re.search(r'requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded', out)
    moved = re.search(r'traffic: .*?\((\d+)\) total.*?\((\d+)\) data', out)
    if not rate or not count or not moved:
        raise Invalid(f'h2load said: {out[-500:]}')
    if count[1] != count[2] or f'{count[1]} 2xx' not in out:
        raise Invalid(f'{count[0]}, not all of them 2xx')
    return float(rate[1]), int(count[1]), int(moved[2])
