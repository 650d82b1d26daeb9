"""What a store on a disk needs that one in memory does not: that it lies on one, and that it is known what of it the kernel
holds in memory (its page cache)."""
import os
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

from cost import family

IN_MEMORY = ('tmpfs', 'ramfs')


def kind_of(folder, mounts=None):
    """The kind of file system that a folder lies on."""
    best, kind = '', ''
    for line in (mounts or Path('/proc/self/mountinfo').read_text()).splitlines():
        before, _, after = line.partition(' - ')
        place = before.split()[4].replace('\\040', ' ')
        inside = os.path.commonpath([place, folder]) == place
        if inside and len(place) >= len(best):  # of several at one place the last lies on top
            best, kind = place, after.split()[0]
    return kind


def lies_on_disk(folder):
    return kind_of(os.path.realpath(folder)) not in IN_MEMORY


def scratch_parent(*others):
    """Where a store to measure may lie: a folder on a disk, the usual one for such things if it is."""
    places = [tempfile.gettempdir(), '/var/tmp', *map(str, others)]
    return next((place for place in places if os.path.isdir(place) and lies_on_disk(place)), places[0])


def files(folder):
    """Open descriptors of all files, one after the other."""
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                descriptor = os.open(os.path.join(path, name), os.O_RDONLY)
            except OSError:  # a server took it away meanwhile, or it is a socket
                continue
            try:
                yield descriptor
            finally:
                os.close(descriptor)


def cool(folder):
    """The page cache lets all files of a folder go, once what it has still to write is written (`os.sync`)."""
    for descriptor in files(folder):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def kept_cool(folder, pause=0.1):
    """The page cache lets them go again and again."""
    over = threading.Event()

    def cools():
        while not over.wait(pause):
            cool(folder)
    thread = threading.Thread(target=cools)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def warm(folder):
    """The page cache holds all files of a folder, if there is memory for them."""
    buffer = bytearray(1 << 20)
    for descriptor in files(folder):
        while os.readv(descriptor, [buffer]):
            pass


def reads(roots):
    """Bytes that servers have read from files so far, and those of them that came from the medium."""
    total, medium = 0, 0
    for pid in family(roots):
        try:
            told = dict(line.split(': ') for line in Path(f'/proc/{pid}/io').read_text().splitlines())
        except OSError:
            continue
        total += int(told['rchar'])
        medium += int(told['read_bytes'])
    return total, medium
