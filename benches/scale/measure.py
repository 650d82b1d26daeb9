"""What is measured: starts, and how late hits are while something else goes on."""
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import content
import load
from process import Refused


def taken(folder):
    """Bytes that a folder takes on the disk."""
    return sum((Path(path) / name).stat().st_blocks * 512 for path, _, names in os.walk(folder) for name in names)


def ask(edge, urls, rate, log):
    """The command that asks one after the other, so many a second, over one HTTP/2 connection; not waiting for answers."""
    return load.command_line(['h2load', '-t', 1, '-c', 1, '-m', 100, '-n', len(urls.read_text().splitlines()), '--rps', rate, '-i', urls,
                              '--connect-to', f'127.0.0.1:{edge.http}', '--log-file', log])


def listed(folder, name, host, paths):
    urls = Path(folder) / name
    urls.write_text(''.join(f'http://{host}{path}\n' for path in paths))
    return urls


class Flood:
    """Random URLs of which nothing is stored, so many a second, for as long as the block takes."""

    def __init__(self, edge, rate, longest):
        self.edge, self.rate, self.longest = edge, rate, longest

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        paths = (f'/content/absent/{os.urandom(12).hex()}.html' for _ in range(int(self.rate * self.longest)))
        urls = listed(self.folder.name, 'urls', content.host(0), paths)
        self.log = Path(self.folder.name) / 'log'
        self.process = subprocess.Popen(ask(self.edge, urls, self.rate, self.log), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3)

    def __exit__(self, *_):
        ended = self.process.poll()
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()
        if ended is not None:
            raise Refused('the flood ended before the hits did')


def hits(edge, numbers, rate):
    """Asks for stored pages of one site. Tells (when it was asked, in s since the epoch; how long it took, in ms) of each. All
    must be hits."""
    with tempfile.TemporaryDirectory() as folder:
        urls = listed(folder, 'urls', content.host(numbers[0]), map(content.path, numbers))
        log = Path(folder) / 'log'
        done = subprocess.run(ask(edge, urls, rate, log), capture_output=True, text=True, timeout=60 + 4 * len(numbers) / rate)
        lines = [list(map(int, line.split()[:3])) for line in log.read_text().splitlines()]
    wrong = [status for _, status, _ in lines if status != 200]
    if wrong or len(lines) != len(numbers):
        raise Refused(f'{len(wrong)} of {len(lines)} answers were no hits ({set(wrong)}); h2load said: {done.stdout[-300:]}{done.stderr[-300:]}\n'
                      f'the edge said: {"".join(edge.not_found(content.host(numbers[0])))}')
    return [(start / 1e6, took / 1e3) for start, _, took in lines]


def p99(figures):
    figures = sorted(figures)
    return figures[len(figures) * 99 // 100]


class Reclaiming:
    """Notes until when chunks go, over a block in which none come."""

    # Fewer requests say nothing of one in a hundred.
    least = 100

    def __init__(self, edge):
        self.edge, self.last_at, self.ended = edge, None, threading.Event()

    def chunks(self):
        return self.edge.metric('lectern_disk_chunks')

    def __enter__(self):
        self.left = self.chunks()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.ended.wait(0.05):
            if (now := self.chunks()) != self.left:
                self.left, self.last_at = now, time.time()

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def until_it_ends(self, within=120):
        """Waits until the folder has as much room as it keeps free, a sixteenth of its limit. Tells how many chunks are left."""
        end = time.monotonic() + within
        while self.edge.metric('lectern_disk_bytes') > self.edge.limit * 0.9475:
            if time.monotonic() > end:
                raise Refused(f'the folder did not come below its limit within {within} s')
            time.sleep(0.1)
        if not self.edge.metric('lectern_disk_reclaimed_segments_total'):
            raise Refused('no segment was reclaimed')
        return int(self.chunks())

    def during(self, asked):
        """How long those of the requests took that were asked while chunks went; none, if those are too few."""
        took = [took for at, took in asked if self.last_at and at <= self.last_at]
        return took if len(took) >= self.least else []
