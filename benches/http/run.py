"""Speed of the edge beside other caches, ranked by the CPU time that a server's processes take for a request.

CPU time counts what a server does, whoever waits for whom; requests per second depend on the generator too and are told beside
it. Each server is pinned to core 0, the generator and the origin to core 1. `python3 run.py --list` names the cases.
"""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import disk
import report
from blocks import all_cases
from origin import Origin
from peers import PEERS
from process import GENERATOR_CORE, Certificate, Refused, Setup, program
from targets import OURS
from turns import Running, play


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    rounds: int
    seconds: int
    idle: int
    stored: tuple
    disk_mib: int      # of bodies of one size on a disk, a power of two
    peers: tuple       # names, unless others are asked for
    cases: tuple = ()  # parts of names; none: all
    without: tuple = ()

    @property
    def how(self):
        return f'Medians of {self.rounds} rounds of {self.seconds} s; ± half the way from the least to the greatest.'


EVERYBODY = tuple(p.name for p in PEERS)
FULL = Plan(4, 2, 10_000, (10_000, 1_000_000), 512, EVERYBODY)
QUICK = Plan(2, 1, 1_000, (1_000, 20_000), 256, ('lectern', 'nginx', 'nginx copying', 'nginx tmpfs', 'haproxy'),
             without=('HTTP/2 1 MB', 'HTTP/2 64 MB', 'resumed', 'HTTPS 32 KB, '))  # no target stands on those
# Each kind once.
SMOKE = Plan(1, 1, 100, (100, 1_000), 128, ('lectern', 'nginx'),
             ('HTTP/1.1 1 KB', 'HTTPS 1 MB', 'HTTP/2 32 KB', 'new TLS', 'resumed TLS', 'cold fill', 'second client', 'idle', '1 MB from disk'))


def words(text):
    return tuple(word.strip().lower() for word in (text or '').split(',') if word.strip())


def chosen_blocks(plan, wanted):
    """Blocks of which a case is named: by a part of its name, or by its group."""
    if wanted:
        def named(case):
            return any(word in case.name.lower() or word == case.group for word in wanted)
    else:
        def named(case):
            return (not plan.cases or any(part in case.name for part in plan.cases)) and not any(part in case.name for part in plan.without)
    return [block for block in all_cases(plan.idle, plan.stored, plan.disk_mib) if any(named(case) for case in block)]


def chosen_peers(plan, wanted):
    """Peers to measure, and those whose programs are not here."""
    asked = [p for p in PEERS if (p.name.split()[0] in wanted if wanted else p.name in plan.peers)]
    missing = [p for p in asked if not all(program(needed) for needed in p.needs)]
    return [p for p in asked if p not in missing], missing


def measure(blocks, peers, plan, scratch):
    """The cells of all blocks. What is started here ends here."""
    cells = []
    with ExitStack() as ends:
        certificate = Certificate.make(scratch)
        origin = Origin(scratch / 'origin', certificate)
        ends.callback(origin.stop)
        running = Running(scratch, certificate, origin)
        ends.callback(running.stop_all_but)
        for block in blocks:
            begun = time.monotonic()
            done = play(block, peers, running, plan.rounds, plan.seconds)
            running.stop_all_but(Setup())
            for case, those in report.by_case(done):
                print(f'{case.name:30} {case.figures[0].unit}:  {"   ".join(map(briefly, those))}', flush=True)
            print(f'{"":30} took {time.monotonic() - begun:.0f} s', file=sys.stderr)
            cells += done
    return cells


def briefly(cell):
    figure = cell.case.figures[0]
    return f'{cell.name} {report.middle(cell):.{figure.digits}f}' if cell.runs else f'{cell.name} refused'


def written(out, cells, peers, missing, plan):
    """Writes JSON and tables, and gives the tables."""
    told = report.versions([p.name for p in peers])
    how = (f'{report.machine()}; {", ".join(f"{name} {version}" for name, version in told.items())}.\n{plan.how} '
           'Server on one core, generator and origin on the other; TLS 1.3, AES-128-GCM, ECDSA P-256. Access log on, but in HAProxy. '
           'nginx: the better of sendfile on and off.'
           + (f' Not here: {", ".join(p.name for p in missing)}.' if missing else ''))
    out.mkdir(parents=True, exist_ok=True)
    (out / 'summary.json').write_text(json.dumps(
        {'machine': report.machine(), 'versions': told, 'rounds': plan.rounds, 'seconds': plan.seconds,
         'targets': report.target_entries(cells), 'cells': report.entries(cells)}, indent=1) + '\n')
    text = report.text(cells, how)
    (out / 'table.md').write_text(text)
    return text


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--out', type=Path, default=Path('target/bench'), help='folder for summary.json and table.md')
    size = arguments.add_mutually_exclusive_group()
    size.add_argument('--quick', action='store_true', help='two rounds of a second, cases with a target, without Varnish and Traffic Server')
    size.add_argument('--smoke', action='store_true', help='each kind of case once: only shows that it runs')
    arguments.add_argument('--cases', type=words, default=(), help='parts of names, or groups, with commas between')
    arguments.add_argument('--peers', type=words, default=(), help='names, with commas between')
    arguments.add_argument('--list', action='store_true', help='names the cases and ends')
    told = arguments.parse_args()
    plan = SMOKE if told.smoke else QUICK if told.quick else FULL
    blocks = chosen_blocks(plan, told.cases)
    if told.list:
        for block in blocks:
            print(*(f'{case.group:14} {case.name}' for case in block), sep='\n')
        return
    peers, missing = chosen_peers(plan, told.peers)
    if not blocks or not peers:
        sys.exit('bench: no such case or peer; --list names the cases')
    if any(p.name == OURS for p in peers) and not os.access(os.environ.get('LECTERN', ''), os.X_OK):
        sys.exit('bench: LECTERN must name the program to measure; `make bench` builds it')
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit('bench: needs two cores, one for the server and one for the generator')
    os.sched_setaffinity(0, {int(GENERATOR_CORE)})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended

    begun, scratch = time.monotonic(), Path(tempfile.mkdtemp(prefix='lectern-bench-', dir=disk.scratch_parent(told.out.parent)))
    scratch.chmod(0o755)
    try:
        cells = measure(blocks, peers, plan, scratch)
    except Refused as why:
        sys.exit(f'bench: {why}')
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    text = written(told.out, cells, peers, missing, plan)
    if not told.smoke:  # whose figures say nothing
        print('\n' + text)
    print(f'bench: {sum(bool(cell.runs) for cell in cells)} of {len(cells)} cells have figures; '
          f'{told.out}/summary.json and table.md written after {time.monotonic() - begun:.0f} s')
    refused = [cell for cell in cells if not cell.runs and (told.smoke or cell.name == OURS)]
    if refused:
        sys.exit(f'bench: {len(refused)} cells refused, see above')


if __name__ == '__main__':
    main()
