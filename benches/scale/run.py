"""What becomes of the edge when very much is stored on its disk: how long a start takes to the first hit, how that grows, what the
index takes, and how late hits are while absent URLs are asked for or segments are reclaimed.

What is stored is made beforehand by `generate.rs`, through the library; then the real program is started on it.
"""
import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / 'http'))  # shared with `make bench`

import content
import disk
import report
from judge import judged, table
from measure import Flood, Reclaiming, hits, p99, taken
from process import GENERATOR_CORE, Refused
from servers import MEMORY, Edge, Nothing

# A response takes about 4.5 KB with its part of the index: there is room for a third more.
LIMIT_PER_RESPONSE = 6 << 10


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    counts: tuple  # stored at each start
    starts: int
    floods: int    # pairs of runs
    reclaims: int
    seconds: int   # of a run
    hits: int      # a second
    flood: int     # absent URLs a second


FULL = Plan((20_000, 200_000, 2_000_000), 3, 5, 3, 4, 500, 2_000)
# For a build that is not optimised: it shows that all holds, its figures say little.
SMALL = Plan((2_000, 20_000, 200_000), 1, 2, 2, 3, 200, 200)


class Scale:
    """A store that grows, and the edges that are started on it one after the other."""

    def __init__(self, scratch, origin, generate, plan):
        self.scratch, self.origin, self.generate, self.plan = scratch, origin, generate, plan
        self.store, self.ledger = scratch / 'store', scratch / 'ledger'
        self.limit = plan.counts[-1] * LIMIT_PER_RESPONSE
        self.stored, self.started, self.asked = 0, 0, 0

    def grow(self, count):
        begun = time.monotonic()
        cores = ','.join(map(str, range(os.cpu_count())))
        subprocess.run(['taskset', '-c', cores, self.generate, '--folder', self.store, '--ledger', self.ledger, '--limit', str(self.limit),
                        '--from', str(self.stored), '--to', str(count)], check=True)
        os.sync()
        took = time.monotonic() - begun
        print(f'{count - self.stored:,} more stored within {took:.0f} s', file=sys.stderr, flush=True)
        self.stored = count

    def edge(self, limit=None, first=None, warm=False):
        """One that was just started, with its store in the page cache, or nothing of it."""
        (disk.warm if warm else disk.cool)(self.store)
        self.started += 1
        first = random.randrange(self.stored) if first is None else first
        return Edge(self.scratch / f'edge-{self.started}', self.origin, self.store, self.ledger, limit or self.limit, first)

    def started_once(self):
        """Seconds to the first hit, memory after it, and what is stored as the edge says."""
        edge = self.edge()
        try:
            time.sleep(1.2)  # the gauges are told once a second
            return edge.took, edge.resident_mib(), edge.metric('lectern_disk_responses')
        finally:
            edge.stop()

    def started_after_a_kill(self):
        self.edge().kill()
        edge = self.edge()
        edge.stop()
        return edge.took

    def start(self):
        """A row of the table of starts."""
        starts = [self.started_once() for _ in range(self.plan.starts)]
        missing = self.stored - starts[0][2]
        if missing:
            raise Refused(f'{missing:.0f} of {self.stored} responses are not stored')
        index = taken(self.store) - taken(self.store / 'segments')
        return {'stored': self.stored, 'start_ms': 1e3 * statistics.median(took for took, _, _ in starts),
                'killed_ms': 1e3 * self.started_after_a_kill(), 'index_bytes': index / self.stored,
                'rss_mib': statistics.median(mib for _, mib, _ in starts), 'disk_mib': taken(self.store) / (1 << 20)}

    def some_of(self, site, beyond=0):
        """Pages of one site for a run, none twice, of those that were stored after so many."""
        numbers = range(site + beyond // content.SITES * content.SITES, self.stored, content.SITES)
        pages = random.sample(numbers, min(len(numbers), self.plan.hits * self.plan.seconds))
        self.asked += len(pages)
        return pages

    def flood_pairs(self):
        """(without, with) a flood of absent URLs, in turns, on one edge."""
        edge, found = self.edge(warm=True), []
        try:
            hits(edge, self.some_of(1), self.plan.hits)  # what is paid once
            for at in range(self.plan.floods):
                def without():
                    return p99(took for _, took in hits(edge, self.some_of(2 + at), self.plan.hits))

                def flooded():
                    with Flood(edge, self.plan.flood, 2 * self.plan.seconds + 2):
                        return p99(took for _, took in hits(edge, self.some_of(40 + at), self.plan.hits))
                found.append((without(), flooded()) if at % 2 == 0 else (flooded(), without())[::-1])
        finally:
            edge.stop()
        return found

    def reclaim_pairs(self):
        """(without, with) reclaim, each on an edge just started: with a limit that leaves all, and with one that takes a fifth of
        what there is. The pages of the first run were read, so reclaim must carry them: in the second all must be hits again. A pair counts if
        reclaim went on for long enough."""
        found, gone = [], 0
        for at in range(self.plan.reclaims):
            pages, now = self.some_of(60 + at, gone), taken(self.store)
            edge = self.edge(None, pages[0], warm=True)
            try:
                without = p99(took for _, took in hits(edge, pages, self.plan.hits))
            finally:
                edge.stop()
            edge = self.edge(now * 4 // 5, pages[0], warm=True)
            try:
                with Reclaiming(edge) as reclaiming:
                    asked = hits(edge, pages, self.plan.hits)
                # The oldest, but for some that were asked for.
                gone = self.stored - reclaiming.until_it_ends() + self.asked
            finally:
                edge.stop()
            if during := reclaiming.during(asked):
                found.append((without, p99(during)))
        return found


def measure(scratch, generate, plan):
    """All figures. What is started here ends here."""
    origin = Nothing(scratch / 'origin', None)
    try:
        scale, starts = Scale(scratch, origin, generate, plan), []
        for count in plan.counts:
            scale.grow(count)
            starts.append(scale.start())
        return {'starts': starts, 'flood': scale.flood_pairs(), 'reclaim': scale.reclaim_pairs()}
    finally:
        origin.stop()


def written(out, found, verdicts, plan):
    """Writes JSON and tables, and gives the tables."""
    how = (f'{report.machine()}; lectern {report.versions(["lectern"])["lectern"]}.\nServer on one core, generators and origin on the other; '
           f'{plan.hits:,} hits a second, a flood of {plan.flood:,} absent URLs a second, runs of {plan.seconds} s; memory tier of {MEMORY} MiB. '
           'A start: nothing of the store is in the page cache; the rest: all of it.')
    out.mkdir(parents=True, exist_ok=True)
    (out / 'summary.json').write_text(json.dumps({'machine': report.machine(), **found, 'targets': [vars(v) for v in verdicts]}, indent=1) + '\n')
    text = table(found, verdicts, how)
    (out / 'table.md').write_text(text)
    return text


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--out', type=Path, default=Path('target/scale'), help='folder for summary.json and table.md')
    arguments.add_argument('--generate', type=Path, required=True, help='the program that generate.rs becomes')
    arguments.add_argument('--small', action='store_true', help='a tenth of it, for a build that is not optimised')
    told = arguments.parse_args()
    plan = SMALL if told.small else FULL
    if not os.access(os.environ.get('LECTERN', ''), os.X_OK):
        sys.exit('scale: LECTERN must name the program to measure; `make scale` builds it')
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit('scale: needs two cores, one for the server and one for the generator')
    os.sched_setaffinity(0, {int(GENERATOR_CORE)})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended

    begun, scratch = time.monotonic(), Path(tempfile.mkdtemp(prefix='lectern-scale-', dir=disk.scratch_parent(told.out.parent)))
    scratch.chmod(0o755)
    try:
        found = measure(scratch, told.generate.resolve(), plan)
    except (Refused, subprocess.CalledProcessError) as why:
        sys.exit(f'scale: {why}')
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    verdicts = judged(found)
    print(written(told.out, found, verdicts, plan))
    print(f'scale: {told.out}/summary.json and table.md written after {time.monotonic() - begun:.0f} s')
    if far := [v.name for v in verdicts if v.is_far and not (told.small and v.of_percentiles)]:
        sys.exit(f'scale: missed by far: {"; ".join(far)}')


if __name__ == '__main__':
    main()
