"""What is said of the runs: medians with their spread, and the targets, as JSON and as tables."""
import datetime
import os
import platform
import re
import statistics
import subprocess
from itertools import groupby

from process import program
from targets import OURS, verdicts

NOTES = {
    'fills': 'nginx keeps its store on the disk, `nginx tmpfs` in memory as Lectern does its memory tier. To disk: both write every body '
             'there, and what is written within 1.5 s after the last answer is part of the cost.',
    'disk': 'The store is many times what Lectern may hold in memory; nginx reads by sendfile, or copies, whichever is better. Warm: '
            'the page cache holds the files. Cold: it was emptied before each second, and ten times during it.',
    'growth': 'With two cores the generator shares the second one with the server.',
    'second client': 'The body of 16 MB comes from the origin within about a second; the second client asks 0.3 s after the first.',
    'idle': 'Growth of the resident memory (Pss) of all processes of a server that was just started; the kernel\'s socket buffers are not in it.',
}


def columns_of(cells):
    """Cells of one case by peer: of a peer's settings ('nginx', 'nginx copying') the better one with figures."""
    best = {}
    for cell in cells:
        peer = cell.peer.column or cell.name.split()[0]
        other = best.get(peer)
        if other is None or not other.runs or (cell.runs and middle(cell) < middle(other)):
            best[peer] = cell
    return best


def middle(cell, key=None):
    values = [run[key or cell.case.ranks] for run in cell.runs]
    return statistics.median(values)


def spread(cell):
    """Half of the way from the least to the greatest run, as a part of the median."""
    values = [run[cell.case.ranks] for run in cell.runs]
    return (max(values) - min(values)) / 2 / statistics.median(values) if statistics.median(values) else 0.0


def entries(cells):
    """One entry for each case and server, every run in it."""
    return [{'group': cell.case.group, 'case': cell.case.name, 'server': cell.name, 'ranks': cell.case.ranks,
             **({'refused': cell.refused} if not cell.runs else
                {'medians': {f.key: middle(cell, f.key) for f in cell.case.figures}, 'spread': round(spread(cell), 4), 'runs': cell.runs})}
            for cell in cells]


def by_case(cells):
    return [(case, list(those)) for case, those in groupby(cells, key=lambda cell: cell.case)]


def target_entries(cells):
    return [{'case': case.name, 'against': v.target.against or None, 'at_most': v.target.at_most, 'aim': v.target.aim,
             'value': v.value, 'low': v.low, 'high': v.high, 'verdict': v.word}
            for case, those in by_case(cells) for v in verdicts(case, columns_of(those))]


def shown(cell):
    """A cell of a table. One that is refused shows no figure."""
    if not cell.runs:
        return 'refused'
    first, *others = cell.case.figures
    return ' · '.join([f'{middle(cell):,.{first.digits}f} ±{spread(cell):.0%}',
                       *(f'{middle(cell, f.key):,.{f.digits}f}' for f in others)])


def judged(verdict):
    target = verdict.target
    bound = f'at most {target.at_most:g}' + (f', aim {target.aim:g}' if target.aim else '')
    word = f'**{verdict.word}**' if verdict.word == 'missed' else verdict.word
    if verdict.value is None:
        return f'{target.against or OURS} ({bound}): {word}'
    if not target.against:
        return f'{verdict.value:.1f} ({bound}): {word}'
    return f'{verdict.value:.2f} of {target.against} [{verdict.low:.2f}–{verdict.high:.2f}] ({bound}): {word}'


def table(group, cells):
    """The cases of one group, a column for each peer that takes part and one for targets where there are any."""
    rows = [(case, columns_of(those)) for case, those in by_case(cells)]
    peers = list(dict.fromkeys(peer for _, columns in rows for peer in columns))
    judgements = [[judged(v) for v in verdicts(case, columns)] for case, columns in rows]
    last = ['target'] if any(judgements) else []
    lines = [f'### {group.capitalize()}', '', f'Each cell: {" · ".join(f.unit for f in rows[0][0].figures)}. {NOTES.get(group, "")}'.rstrip(), '',
             '| ' + ' | '.join(['case', *peers, *last]) + ' |', '|---' * (1 + len(peers) + len(last)) + '|']
    for (case, columns), judgement in zip(rows, judgements):
        row = [shown(columns[p]) if p in columns else '' for p in peers] + (['; '.join(judgement)] if last else [])
        lines.append('| ' + ' | '.join([case.name, *row]) + ' |')
    refused = [f'- {cell.case.name}, {cell.name}: {cell.refused}' for cell in cells if not cell.runs]
    return '\n'.join([*lines, *(['', 'Refused:', '', *refused] if refused else [])])


def text(cells, how):
    """The whole report."""
    groups = dict.fromkeys(cell.case.group for cell in cells)
    found = [v.word for case, those in by_case(cells) for v in verdicts(case, columns_of(those))]
    counts = ', '.join(f'{found.count(word)} {word}' for word in ('aim met', 'met', 'missed', 'not measured') if word in found)
    return '\n\n'.join([f'{how}\nTargets: {counts or "none in these cases"}.',
                        *(table(group, [cell for cell in cells if cell.case.group == group]) for group in groups)]) + '\n'


def machine():
    with open('/proc/cpuinfo') as f:
        cpu = next((line.split(':', 1)[1].strip() for line in f if line.startswith('model name')), platform.machine())
    return f'{datetime.date.today()}, {cpu}, {os.cpu_count()} cores, Linux {platform.release()}'


ASK = {'lectern': [os.environ.get('LECTERN', ''), '--version'], 'nginx': ['nginx', '-v'], 'haproxy': ['haproxy', '-v'],
       'varnish': ['varnishd', '-V'], 'hitch': ['hitch', '--version'], 'trafficserver': ['traffic_server', '--version'],
       'wrk': ['wrk', '-v'], 'h2load': ['h2load', '--version']}


def versions(peers):
    """Versions of what takes part, as each program says it."""
    names = [*dict.fromkeys(peer.split()[0] for peer in peers), *(['hitch'] if 'varnish' in peers else []), 'wrk', 'h2load']
    told = {}
    for name in names:
        if found := program(ASK[name][0]):
            done = subprocess.run([found, *ASK[name][1:]], capture_output=True, text=True)
            told[name] = re.search(r'\d+\.\d+[\w.+~-]*|$', done.stdout + done.stderr)[0]
    return told
