"""What the edge is to reach, and whether it did."""
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`at_most` and `aim` are parts of what `against` needs in the same round, or, against nobody, figures themselves."""

    case: str  # the beginning of its name
    against: str
    at_most: float
    aim: float | None = None


OURS = 'lectern'
TARGETS = (
    Target('HTTP/1.1 1 KB', 'nginx', 0.9), Target('HTTP/1.1 1 KB', 'haproxy', 1.0),
    Target('HTTP/1.1 32 KB', 'nginx', 0.95), Target('HTTP/1.1 1 MB', 'nginx', 0.85), Target('HTTP/1.1 64 MB', 'nginx', 1.0),
    Target('HTTPS 1 KB', 'nginx', 0.75), Target('HTTPS 32 KB', 'nginx', 0.5),
    Target('HTTPS 1 MB', 'nginx', 0.7), Target('HTTPS 64 MB', 'nginx', 0.5),
    Target('HTTP/2 1 KB', 'nginx', 0.5), Target('HTTP/2 1 KB', 'haproxy', 1.0), Target('HTTP/2 32 KB', 'nginx', 0.5),
    Target('new TLS connection', 'nginx', 0.75),
    Target('cold fill 32 KB', 'nginx', 0.8, aim=0.4),
    Target('cold fill 32 KB to disk', 'nginx', 1.0, aim=0.67),
    *(Target(f'{protocol} {label} from disk, {pages}', 'nginx', at_most) for protocol, at_most in (('HTTPS', 0.65), ('HTTP/1.1', 1.5))
      for label in ('32 KB', '1 MB', '64 MB') for pages in ('warm', 'cold')),
    Target('idle TLS connections', '', 32, aim=24),
)


@dataclass(frozen=True)
class Verdict:
    target: Target
    value: float | None = None  # ratio, or figure; nothing if a cell has no figures
    low: float | None = None
    high: float | None = None

    @property
    def word(self):
        if self.value is None:
            return 'not measured'
        if self.value > self.target.at_most:
            return 'missed'
        return 'aim met' if self.target.aim is not None and self.value <= self.target.aim else 'met'


def targets_of(case):
    """Those for a case. Growth has rows of the same kind, with more behind the name; idle connections have their number before."""
    if case.group == 'idle':
        return [t for t in TARGETS if case.name.endswith(t.case)]
    return [t for t in TARGETS if case.name == t.case]


def verdicts(case, columns):
    """For every target of a case. `columns`: cells by peer, of a peer's settings the better. Ratios are taken within a round."""
    found = []
    for target in targets_of(case):
        ours, theirs = columns.get(OURS), columns.get(target.against)
        values = []
        if ours and ours.runs and not target.against:
            values = [run[case.ranks] for run in ours.runs]
        elif ours and ours.runs and theirs and theirs.runs:
            values = [a[case.ranks] / b[case.ranks] for a, b in zip(ours.runs, theirs.runs)]
        found.append(Verdict(target, statistics.median(values), min(values), max(values)) if values else Verdict(target))
    return found
