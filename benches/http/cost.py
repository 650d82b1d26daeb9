"""What a server costs: CPU time and memory of all its processes, as /proc tells them."""
import os
import re
import time

TICKS = os.sysconf('SC_CLK_TCK')


def family(roots):
    """Processes and all that descend from them."""
    children = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit() and (fields := stat(entry)):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = set(), list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def stat(pid):
    """The fields of /proc/PID/stat from the state on; nothing for a process that has ended."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rsplit(')', 1)[1].split()
    except OSError:
        return None


def cpu_seconds(pids):
    """User and system time of processes, all their threads included."""
    return sum(int(fields[11]) + int(fields[12]) for fields in map(stat, pids) if fields) / TICKS


def memory_kib(pids):
    """Resident memory; a page that several processes share counts once (Pss)."""
    total = 0
    for pid in pids:
        try:
            with open(f'/proc/{pid}/smaps_rollup') as f:
                total += int(re.search(r'^Pss:\s+(\d+) kB', f.read(), re.M)[1])
        except OSError:
            continue
    return total


class Meter:
    """CPU time of a server's processes over a `with` block."""

    def __init__(self, roots):
        self.roots = roots

    def __enter__(self):
        self.pids = family(self.roots)
        self.cpu, self.begun = -cpu_seconds(self.pids), time.monotonic()
        return self

    def __exit__(self, *_):
        self.cpu += cpu_seconds(self.pids)
        self.wall = time.monotonic() - self.begun
