"""Cache hits: the edge, nginx and HAProxy, ranked by CPU time of the server's processes per request.

Each server is pinned to core 0, the generator to core 1. Servers take turns inside a round, and the figure is the
median of the rounds, so that what else the machine does falls on all of them alike. CPU time counts what a server
does, whoever waits for whom; requests per second depend on the generator too and are told beside it.
"""
import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import measure
import servers

KINDS = [servers.Lectern, servers.Nginx, servers.NginxCopying, servers.Haproxy]
FIGURES = ('cpu_us_per_request', 'cpu_s_per_gb', 'requests_per_second', 'p99_ms')


def rounds(cases, edges, origin, count, seconds):
    """{(case, server): [figures of each run]}."""
    found = {}
    for case in cases:
        if seconds > 1:
            for edge in edges:  # what is paid once (first connections, page faults) is not measured
                one_good(case, edge, origin, 1)
        for _ in range(count):
            for edge in edges:
                figures = one_good(case, edge, origin, seconds)
                found.setdefault((case.name, edge.name), []).append(figures)
        line = '   '.join(f'{e.name} {median(found[case.name, e.name], "cpu_us_per_request"):.1f}' for e in edges)
        print(f'{case.name:14} µs of CPU per request:  {line}', flush=True)
    return found


def one_good(case, edge, origin, seconds, tries=3):
    """A run that counts. One that does not is said and done again."""
    while True:
        try:
            return measure.run(case, edge, origin, seconds)
        except measure.Invalid as why:
            print(f'{case.name}, {edge.name}: run thrown away: {why}', file=sys.stderr)
            tries -= 1
            if not tries:
                raise


def median(runs, key):
    values = [r[key] for r in runs if r[key] is not None]
    return statistics.median(values) if values else None


def summarise(cases, edges, found):
    """One entry per case and server; of nginx's two settings the better."""
    entries = []
    for case in cases:
        best = {}
        for edge in edges:
            runs = found[case.name, edge.name]
            entry = {'case': case.name, 'server': edge.name.split()[0], **{k: median(runs, k) for k in FIGURES}, 'runs': len(runs)}
            other = best.get(entry['server'])
            if other is None or entry['cpu_us_per_request'] < other['cpu_us_per_request']:
                best[entry['server']] = entry
        entries += best.values()
    return entries


def table(cases, entries, told, how):
    """The same for people, as docs/performance.md has it."""
    names = list(dict.fromkeys(e['server'] for e in entries))
    by = {(e['case'], e['server']): e for e in entries}
    cpu = next((l.split(':', 1)[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), platform.machine())
    lines = [f'{datetime.date.today()}, {cpu}, {os.cpu_count()} cores, Linux {platform.release()}; {", ".join(told.values())}.',
             f'{how} Access log: lectern and nginx. nginx: the better of sendfile on and off.',
             'Each cell: µs of CPU per request · CPU s per GB · requests/s · 99th percentile in ms. Bold: least CPU.', '',
             '| case | ' + ' | '.join(names) + ' |', '|---|' + '---|' * len(names)]
    for case in cases:
        row = [by[case.name, n] for n in names]
        least = min(e['cpu_us_per_request'] for e in row)
        lines.append(f'| {case.name} | ' + ' | '.join(cell(e, e['cpu_us_per_request'] == least) for e in row) + ' |')
    return '\n'.join(lines)


def cell(entry, best):
    cost = f'{entry["cpu_us_per_request"]:.1f}'
    late = '' if entry['p99_ms'] is None else f' · {entry["p99_ms"]:.1f}'
    return f'{"**" + cost + "**" if best else cost} · {entry["cpu_s_per_gb"]:.2f} · {entry["requests_per_second"]:,.0f}{late}'


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument('--out', type=Path, default=Path('target/bench'), help='folder for summary.json and table.md')
    arguments.add_argument('--quick', action='store_true', help='medians of three short runs')
    arguments.add_argument('--smoke', action='store_true', help='two cases, once: only shows that it runs')
    arguments.add_argument('--only', nargs='*', help='servers to run (lectern, nginx, haproxy)')
    chosen = arguments.parse_args()
    if os.cpu_count() < 2:
        sys.exit('bench: needs two cores, one for the server and one for the generator')
    cases = [measure.CASES[0], measure.CASES[-3]] if chosen.smoke else measure.CASES
    count, seconds = (1, 1) if chosen.smoke else (3, 1) if chosen.quick else (5, 5)
    kinds = [k for k in KINDS if not chosen.only or k.name.split()[0] in chosen.only]

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    scratch, running, begun = Path(tempfile.mkdtemp(prefix='lectern-bench-')), [], time.monotonic()
    scratch.chmod(0o755)
    try:
        servers.certificate(scratch)
        origin = servers.Origin(scratch)
        running.append(origin)
        for kind in kinds:
            running.append(kind(scratch, origin))
        edges = running[1:]
        for edge in edges:
            edge.warm(origin.bodies)
        found = rounds(cases, edges, origin, count, seconds)
    except (measure.Invalid, RuntimeError) as why:
        sys.exit(f'bench: {why}')
    finally:
        for server in reversed(running):
            server.stop()
        shutil.rmtree(scratch, ignore_errors=True)

    entries = summarise(cases, edges, found)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / 'summary.json').write_text(json.dumps(entries, indent=1) + '\n')
    text = table(cases, entries, servers.versions(), f'Medians of {count} runs of {seconds} s.')
    (chosen.out / 'table.md').write_text(text + '\n')
    print(f'\n{text}\n\nbench: {chosen.out}/summary.json and table.md written after {time.monotonic() - begun:.0f} s')


if __name__ == '__main__':
    main()
