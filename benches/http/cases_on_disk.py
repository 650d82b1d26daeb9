"""Cases of stores on a disk: bodies that no server has in memory of its own, and that no store can keep as something it has."""
import http.client
import os
import random
import time

import disk
import load
from cases import CPU, CPU_OF_BYTES, LABELS, LATE, LOADS, RATE, Case, ColdFills, Figure, fresh, measured
from origin import OWN, OWN_FIRST, SIZES, own
from process import Refused, Setup

KEPT = Figure('kept_percent', '% of the bodies kept', 0)
ON_DISK = ('lectern', 'nginx', 'nginx copying')


class OwnBodies:
    """Bodies of their own, to be stored by servers."""

    def __init__(self, file, numbers):
        self.file, self.numbers = file, numbers
        self.stored_by = set()

    @staticmethod
    def of(file, mib):
        """So many that they have these MiB together."""
        return OwnBodies(file, range(OWN_FIRST, OWN_FIRST + (mib << 20) // SIZES[file]))

    def ask_for_all(self, server, tls=False):
        """Compares each byte for byte. Tells how many the origin was asked for."""
        server.origin.forget()
        connection = server.connect(tls)
        try:
            for number in self.numbers:
                connection.request('GET', f'{OWN}{self.file}/{number}')
                answer = connection.getresponse()
                got = answer.read()
                if answer.status != 200 or got != own(self.file, number):
                    raise Refused(f'{server.name} answers {self.file}/{number} with {answer.status} and {len(got)} bytes, not the right ones')
        except http.client.HTTPException as error:
            raise OSError(error) from error
        finally:
            connection.close()
        server.origin.quiet()
        return server.origin.asked()

    def store(self, server, tls, passes=4):
        """Asks for all until all are stored, for this scheme: a store may leave some out when many come at once."""
        if (server, tls) in self.stored_by:
            return
        while left := self.ask_for_all(server, tls):
            passes -= 1
            if not passes:
                raise Refused(f'{server.name} has not stored {left} of {len(self.numbers)} bodies')
        os.sync()  # what is not written yet cannot be let go by the page cache
        self.stored_by.add((server, tls))


class ColdFillsToDisk(ColdFills):
    """The same with bodies of their own, so that each is written to the disk."""

    peers = ON_DISK
    name = 'cold fill 32 KB to disk'
    figures = (*ColdFills.figures, KEPT)
    setup = Setup(store_mib=16384, disk=True)
    # A run may ask for so many: then the next one's numbers begin.
    room = 1_000_000
    # What a server writes behind its answers (once a second, say) is part of the cost.
    written_within = 1.5
    # A body that is not kept costs no writing.
    least_kept = 95

    def ready(self, server):
        number = self.numbers()
        self.head[server] = server.prove(f'{OWN}f32k/{number}', own('f32k', number), times=1)

    def numbers(self):
        """The first of a run's."""
        return OWN_FIRST + next(fresh) * self.room

    def run(self, server, seconds):
        first = self.numbers()

        def generate():
            figures = self.ask(server, seconds, f'{OWN}f32k/', BENCH_FROM=str(first))
            time.sleep(self.written_within)
            return figures
        figures = self.filled(server, generate)
        figures[KEPT.key] = self.kept(server, range(first, first + figures['requests']))
        if figures[KEPT.key] < self.least_kept:
            raise Refused(f'{figures[KEPT.key]:.0f} % of the bodies were kept')
        return figures

    def kept(self, server, numbers, looked_at=400):
        """How many of a hundred are answered without the origin, with the right bytes."""
        some = OwnBodies('f32k', random.sample(numbers, min(looked_at, len(numbers))))
        return 100 - 100 * some.ask_for_all(server) / len(some.numbers)


def check_reads(read, from_disk, cold):
    """Refuses a run in which the answers' bytes came from elsewhere: `read` of them from files, `from_disk` of those from the disk."""
    if read < 0.8:
        raise Refused(f'{read:.0%} of the bytes were read from files: the rest was in memory')
    if cold and from_disk < 0.8:
        raise Refused(f'{from_disk:.0%} of the bytes were read from the disk: the rest was in the page cache')
    if not cold and from_disk > 0.05:
        raise Refused(f'{from_disk:.0%} of the bytes were read from the disk: they were not all in the page cache')


def leap_among(count):
    """A step by which a walk over `count` numbers, a power of two, comes to each of them: an odd one."""
    return random.randrange(count * 3 // 10 | 1, count * 7 // 10, 2)


class DiskHits(Case):
    """Stored responses of one size, many times what a server has in memory of its own: each answer's body is read from a file,
    which the page cache holds (warm) or must first read from the disk (cold)."""

    group = 'disk'
    figures = (CPU_OF_BYTES, CPU, RATE, LATE)
    peers = ON_DISK
    setup = Setup(store_mib=8192, disk=True)
    def __init__(self, protocol, label, bodies, cold):
        self.protocol, self.bodies, self.cold, self.tls = protocol, bodies, cold, protocol == 'HTTPS'
        self.name = f'{protocol} {label} from disk, {"cold" if cold else "warm"}'
        self.head = {}

    def ready(self, server):
        if not disk.lies_on_disk(server.store):
            raise Refused(f'{server.store} lies in memory: TMPDIR must name a folder on a disk')
        self.bodies.store(server, self.tls)
        first = self.bodies.numbers[0]
        self.head[server] = server.prove(f'{OWN}{self.bodies.file}/{first}', own(self.bodies.file, first), self.tls, times=1)

    def run(self, server, seconds):
        if not self.cold:
            disk.warm(server.store)
        before = disk.reads(server.pids)
        figures = measured(server, lambda: self.slices(server, seconds) if self.cold else self.ask(server, seconds))
        read, from_disk = ((after - before) / figures['bytes'] for before, after in zip(before, disk.reads(server.pids)))
        check_reads(read, from_disk, self.cold)
        return dict(figures, read_of_bytes=read, from_disk_of_bytes=from_disk)

    def slices(self, server, seconds):
        """Short runs, the page cache emptied before each and all the while: what was read is in it, and comes again on a fast disk."""
        parts = []
        for _ in range(seconds):
            disk.cool(server.store)
            with disk.kept_cool(server.store):
                parts.append(self.ask(server, 1))
        return {key: (max if key == LATE.key else sum)(part[key] for part in parts) / (seconds if key == RATE.key else 1)
                for key in parts[0]}

    def ask(self, server, seconds):
        """Each body once before any comes again, in an order in which they do not stand on the disk."""
        among, under = len(self.bodies.numbers), f'{OWN}{self.bodies.file}/'
        connections, _, _ = LOADS[self.bodies.file]
        return load.wrk(server, under, SIZES[self.bodies.file], self.head[server], seconds, connections, self.tls, BENCH_UNDER=under,
                        BENCH_AMONG=str(among), BENCH_LEAP=str(leap_among(among)), BENCH_FROM=str(self.bodies.numbers[0]))


def disk_block(label, mib):
    """Hits on the same stored responses, which are many times what Lectern's memory tier holds."""
    bodies = OwnBodies.of(LABELS[label], mib)
    return [DiskHits(protocol, label, bodies, cold) for protocol in ('HTTPS', 'HTTP/1.1') for cold in (False, True)]
