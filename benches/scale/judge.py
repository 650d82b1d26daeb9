"""What the figures are to be, and what is shown of them."""
import statistics
from dataclasses import dataclass

# A target is missed by far where the figure is more than this many times the bound: that is more than a machine's noise.
FAR = 2


@dataclass(frozen=True)
class Verdict:
    name: str
    value: float | None
    at_most: float
    of_percentiles: bool = False  # which say something only of a build that is optimised, on a machine that does nothing else

    @property
    def word(self):
        return 'not measured' if self.value is None else 'met' if self.value <= self.at_most else 'missed'

    @property
    def is_far(self):
        return self.value is not None and self.value > FAR * self.at_most


def ratio(pairs):
    """The median, as each pair says it: what else the machine did falls on both of a pair."""
    return statistics.median(b / a for a, b in pairs) if pairs else None


def judged(found):
    most = found['starts'][-1]
    return [Verdict('start to the first disk hit, ms', most['start_ms'], 2000),
            Verdict('the same after kill -9, ms', most['killed_ms'], 2000),
            # The memory tier, a fill's window, 64 MiB.
            Verdict('resident memory after a start, MiB', most['rss_mib'], 16 + 16 + 64),
            Verdict('99th percentile of hits in a flood of absent URLs, times that without', ratio(found['flood']), 2, True),
            Verdict('99th percentile of hits during reclaim, times that without', ratio(found['reclaim']), 2, True)]


def rows(head, *rows):
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in (head, ('---',) * len(head), *rows))


def late_cells(pairs):
    if not pairs:
        return ('not measured', '', '')
    each = [b / a for a, b in pairs]
    return (*(f'{statistics.median(side):.2f}' for side in zip(*pairs)), f'{ratio(pairs):.2f} [{min(each):.2f}–{max(each):.2f}]')


def table(found, verdicts, how):
    starts = rows(('stored responses', 'start to first disk hit, ms', 'after kill -9, ms', 'index, bytes per response', 'resident, MiB', 'on disk, MiB'),
                  *((f'{r["stored"]:,}', f'{r["start_ms"]:,.0f}', f'{r["killed_ms"]:,.0f}', f'{r["index_bytes"]:,.0f}', f'{r["rss_mib"]:,.0f}',
                     f'{r["disk_mib"]:,.0f}') for r in found['starts']))
    late = rows(('99th percentile of hits, ms', 'without', 'with', 'ratio'),
                *((name, *late_cells(found[key])) for key, name in (('flood', 'a flood of absent URLs'), ('reclaim', 'reclaim'))))
    targets = rows(('target', 'figure', 'at most', ''),
                   *((v.name, '' if v.value is None else f'{v.value:,.2f}', f'{v.at_most:g}', v.word if v.word != 'missed' else f'**{v.word}**')
                     for v in verdicts))
    return '\n\n'.join([how, starts, late, targets]) + '\n'
