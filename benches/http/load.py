"""The load generators, and the proof that what they were answered was right: 200s, of the right length, without an error.

wrk and h2load count what they read to the byte; a run whose count cannot come from right answers alone is refused.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from process import GENERATOR_CORE, Refused

HERE = Path(__file__).parent
# By so much a head may be longer or shorter than the one that was looked at (Age and the like grow).
HEAD_VARIES = 40


def command_line(command):
    return ['setpriv', '--pdeathsig', 'TERM', 'taskset', '-c', GENERATOR_CORE, *map(str, command)]


def environment(server, **more):
    return {**os.environ, 'OPENSSL_CONF': str(server.certificate.offer), **more}


def generate(command, server, within, **more):
    """What a generator says; it is ended when it does not end itself."""
    try:
        done = subprocess.run(command_line(command), capture_output=True, text=True, timeout=within, env=environment(server, **more))
    except subprocess.TimeoutExpired:
        raise Refused(f'{command[0]} did not end within {within} s') from None
    return done.stdout + done.stderr


def wrk(server, path, body, head, seconds, connections=64, tls=False, fields=(), **asks):
    """Figures of answers of `body` bytes behind heads of about `head` bytes. `asks` is for wrk.lua.

    `worth`: answers, those that the end cut counted by their part, since they cost too.
    """
    url = f'https://127.0.0.1:{server.https}{path}' if tls else f'http://127.0.0.1:{server.http}{path}'
    out = generate([*wrk_command(connections, seconds), *(word for name, value in fields for word in ('-H', f'{name}: {value}')), url],
                   server, seconds + 60, **asks)
    totals = re.search(r'^TOTALS (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$', out, re.M)
    if not totals:
        raise Refused(f'wrk said: {out[-500:]}')
    requests, read, took_us, late_us, bad, failed = map(int, totals.groups())
    check_wrk(requests, read, bad, failed, body, head, connections)
    return dict(requests=requests, worth=read / (body + head), bytes=read / (body + head) * body,
                requests_per_second=requests / took_us * 1e6, p99_ms=late_us / 1e3)


def wrk_command(connections, seconds):
    return ['wrk', '-t', 1, '-c', connections, '-d', f'{seconds}s', '--timeout', '30s', '-s', HERE / 'wrk.lua']


def fill(server, under, count):
    """Asks once for each of so many paths. What came of it, only the origin's log tells."""
    generate([*wrk_command(64, 1200), f'http://127.0.0.1:{server.http}{under}'], server, 1300,
             BENCH_UNDER=under, BENCH_UNTIL=str(count))


def check_wrk(requests, read, bad, failed, body, head, connections):
    """Refuses totals that cannot come from 200s with `body` bytes alone. At the end each connection may be amid an answer."""
    if not requests:
        raise Refused('no request was answered')
    if bad or failed:
        raise Refused(f'{bad} answers of 400 or above, {failed} connections failed, of {requests} requests')
    least, most = requests * (body + head - HEAD_VARIES), (requests + connections) * (body + head + HEAD_VARIES)
    if not least <= read <= most:
        raise Refused(f'{requests} answers had {read} bytes; right ones have {least} to {most}')


def h2load(server, path, body, requests, connections, streams, windows=None):
    """The same over HTTP/2. With a duration instead of a number of requests h2load at times does not end."""
    command = ['h2load', '-t', 1, '-c', connections, '-m', streams, '-n', requests]
    if windows:
        command += ['-w', windows[0], '-W', windows[1]]
    with tempfile.NamedTemporaryFile() as log:
        out = generate([*command, f'--log-file={log.name}', f'https://127.0.0.1:{server.https}{path}'], server, 120)
        took_us = sorted(int(line.split()[2]) for line in log.read().decode().splitlines())
    rate = check_h2load(out, requests, body)
    return dict(requests=requests, worth=requests, bytes=requests * body, requests_per_second=rate, p99_ms=took_us[len(took_us) * 99 // 100] / 1e3)


def check_h2load(out, requests, body):
    """The rate of a run in which all was right."""
    rate = re.search(r'finished in [\d.]+\w+, ([\d.]+) req/s', out)
    answers = re.search(r'requests: .*', out)
    status = re.search(r'status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx', out)
    data = re.search(r'traffic: .*\((\d+)\) data', out)
    if not (rate and answers and data):
        raise Refused(f'h2load said: {out[-500:]}')
    if not status or int(status[1]) != requests or f' {requests} succeeded, 0 failed, 0 errored, 0 timeout' not in answers[0]:
        raise Refused(f'h2load: {answers[0]}; {re.search("status codes: .*|$", out)[0]}')
    if int(data[1]) != requests * body:
        raise Refused(f'{requests} answers had {data[1]} bytes of body, not {requests * body}')
    return float(rate[1])


def client(server, what, *arguments, within=60):
    """Figures of one of the clients in clients.py."""
    return reading(generate([sys.executable, HERE / 'clients.py', what, *arguments], server, within))


def reading(out):
    try:
        return json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise Refused(f'client said: {out[-500:]}') from None
