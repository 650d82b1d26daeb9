"""What the results of a run come to: the figures, and what is not as `KNOWN.md` says."""
import re

KINDS = ('required', 'optimal', 'check')


def known(text, state):
    """The cases that `KNOWN.md` lists for a state of the suite: id to reason. A table is headed `## … (state)`."""
    listed = {}
    here = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith('## '):
            here = f'({state})' in line
            continue
        row = re.match(r'\|\s*`([^`]+)`\s*\|(.*)\|\s*$', line)
        if not here or not row:
            continue
        case, reason = row[1], row[2].strip()
        if not reason:
            raise SystemExit(f'KNOWN.md:{number}: {case} has no reason')
        if case in listed:
            raise SystemExit(f'KNOWN.md:{number}: {case} is listed twice')
        listed[case] = reason
    return listed


def differences(cases, listed):
    """Lines that say what must not be: a case that fails and is not listed, one that is listed and passes or is not there.

    What only asks how a cache behaves (`check`) has no right answer and is not held."""
    told = []
    held = {case['id']: case for case in cases if case['kind'] != 'check'}
    for case in held.values():
        if not case['passed'] and case['id'] not in listed:
            told.append(f'fails: {case["id"]} ({case["kind"]}): {case["why"]}')
    for case in listed:
        if case not in held:
            told.append(f'listed in KNOWN.md, but no such case is held: {case}')
        elif held[case]['passed']:
            told.append(f'listed in KNOWN.md, but passes: {case}')
    return told


def figures(cases):
    """Passed and total by kind."""
    return {kind: {'passed': sum(case['passed'] for case in cases if case['kind'] == kind),
                   'total': sum(case['kind'] == kind for case in cases)} for kind in KINDS}


def summary(cases):
    groups = {}
    for case in cases:
        groups.setdefault(case['group'], []).append(case)
    return {**figures(cases), 'groups': {name: figures(some) for name, some in groups.items()}}


def table(summary):
    """The figures of each group, for people."""
    def row(name, of):
        return f'{name:20}' + ''.join(f'{of[kind]["passed"]:6} of {of[kind]["total"]:3}' for kind in KINDS)
    lines = [f'{"":20}' + ''.join(f'{kind:>13}' for kind in KINDS)]
    lines += [row(name, of) for name, of in summary['groups'].items()]
    return '\n'.join([*lines, row('all', summary)])
