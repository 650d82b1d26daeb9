"""The public HTTP cache suite (http-tests/cache-tests) against this edge. `make conformance` runs it.

Two states of the suite are known. The one in the package registry is what CI holds the edge to: older, and at odds with RFC 9111
in places. The current one is run from a checkout. Which cases fail, and why that is right or accepted, stands in `KNOWN.md`;
anything else that fails is an error, and so is a listed case that passes.

Writes summary.json ({required: {passed, total}, optimal, check, groups}) and cases.json to the folder OUT.

Environment: LECTERN the binary; SUITE a checkout of the suite; ID cases to run alone (no judgement); OUT.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import judge
from suite import HERE, Suite

# What the suite's origin reads of a request, and its cases select by: what a rule would list for such an application.
FORWARD = ['Test-ID', 'Test-Name', 'Req-Num', 'Authorization', 'Accept-Language', 'Foo', 'Bar', 'Baz', 'Abc', 'Other']
CONFIG = '''
default_site = "suite"
[node]
threads = 2
[ledger]
folder = "ledger"
[control]
address = "127.0.0.1:{control}"
[[listener]]
name = "web"
address = "127.0.0.1:{port}"
[[origin]]
name = "suite"
servers = ["127.0.0.1:{origin}"]
[[site]]
name = "suite"
hosts = ["suite.example"]
origin = "suite"
targeted_fields = ["CDN-Cache-Control", "Surrogate-Control"]
[[site.rule]]
name = "cases"
prefix = "/test/"
verdict = "cache"
forward = {forward}
[[site.rule]]
name = "the-suite-itself"
prefix = "/"
verdict = "pass"
'''
# A loaded machine; a run takes one to three minutes.
READY, WHOLE = 30, 900


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Running:
    """The suite's origin, with the edge before it."""

    def __init__(self, suite, scratch):
        self.scratch, self.started = scratch, []
        self.origin, self.port, self.control = free_port(), free_port(), free_port()
        self.start('origin', ['node', '--no-warnings', suite.server], suite.folder, suite.environment(self.origin, scratch))
        settings = {'origin': self.origin, 'port': self.port, 'control': self.control, 'forward': json.dumps(FORWARD)}
        (scratch / 'lectern.toml').write_text(CONFIG.format(**settings))
        lectern = Path(os.environ.get('LECTERN', 'lectern')).resolve()
        self.start('lectern', [lectern, 'serve', '--config', 'lectern.toml'], scratch)
        for port in (self.origin, self.port):
            self.answers(port)

    def start(self, name, command, folder, environment=None):
        with open(self.scratch / f'{name}.log', 'wb') as log:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.started.append((name, process))

    def answers(self, port):
        end = time.monotonic() + READY
        while True:
            try:
                return socket.create_connection(('127.0.0.1', port), timeout=1).close()
            except OSError:
                for name, process in self.started:
                    if process.poll() is not None:
                        raise SystemExit(f'conformance: {name} ended at start:\n{self.tail(name)}') from None
                if time.monotonic() > end:
                    raise SystemExit(f'conformance: nobody answers at port {port}') from None
                time.sleep(0.02)

    def tail(self, name):
        return (self.scratch / f'{name}.log').read_text(errors='replace')[-2000:]

    def stop(self):
        for _, process in self.started:
            process.kill()
            process.wait()


def play(suite, running, ids=()):
    """What came of the cases."""
    out = running.scratch / 'results.json'
    # Its modules are looked for from where it lies.
    player = shutil.copy(HERE / 'play.mjs', suite.folder)
    command = ['node', '--no-warnings', player, suite.folder, f'http://127.0.0.1:{running.port}', out, *ids]
    played = subprocess.run(command, cwd=running.scratch, capture_output=True, text=True, timeout=WHOLE)
    if played.returncode:
        raise SystemExit(f'conformance: the suite did not end well:\n{played.stdout[-2000:]}{played.stderr[-2000:]}')
    return json.loads(out.read_text())


def again(suite, running, cases, listed):
    """The cases with those that failed unexpectedly played once more, alone: a loaded machine breaks the suite's own timing."""
    ids = [case['id'] for case in cases if not case['passed'] and case['id'] not in listed and case['kind'] != 'check']
    if not ids:
        return cases
    second = {case['id']: case for case in play(suite, running, ids)}
    return [second.get(case['id'], case) for case in cases]


def main():
    out = Path(os.environ.get('OUT') or 'target/conformance')
    suite = Suite.of(out.resolve() / 'suite', os.environ.get('SUITE'))
    ids = os.environ.get('ID', '').split()
    listed = judge.known((HERE / 'KNOWN.md').read_text(), suite.name)
    with tempfile.TemporaryDirectory(prefix='conformance-') as scratch:
        running = Running(suite, Path(scratch))
        try:
            cases = play(suite, running, ids)
            if ids:
                for case in cases:
                    print(f'{"passes" if case["passed"] else "fails"}: {case["id"]} ({case["kind"]}) {case["why"]}')
                return 0
            cases = again(suite, running, cases, listed)
        finally:
            running.stop()
    summary = judge.summary(cases)
    (out / 'summary.json').write_text(json.dumps(summary, indent=1) + '\n')
    (out / 'cases.json').write_text(json.dumps(cases, indent=1) + '\n')
    print(judge.table(summary))
    told = judge.differences(cases, listed)
    for line in told:
        print(f'conformance: {line}', file=sys.stderr)
    print(f'conformance ({suite.name}): {"not as KNOWN.md says" if told else "as KNOWN.md says"}')
    return 1 if told else 0


if __name__ == '__main__':
    sys.exit(main())
