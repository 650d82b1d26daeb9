"""A learner gets a Kolibri course through the edge; the second time the origin's content is not asked.

Chromium, HTTPS with the development certificate, the edge with the shipped configuration, a real Kolibri. Between
edge and Kolibri stand two relays (watch.py) that count what gets through and can refuse it.
"""
import concurrent.futures
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from playwright.sync_api import sync_playwright

import kolibri
from edge import Edge, free_port
from learner import Learner
from watch import Watch

HOSTS = {'kolibri': 'learn.localhost', 'kolibri-packages': 'packages.localhost'}
CONTENT = '/content/'
PRIVATE = ('/api/auth/', '/api/logger/', '/api/bookmarks/', '/learn/api/')


class Checks:
    """Says of each expectation whether it held, and counts."""

    def __init__(self):
        self.passed = self.failed = 0
        self.begun = time.monotonic()

    def that(self, holds, what, found=''):
        self.passed, self.failed = self.passed + bool(holds), self.failed + (not holds)
        note = f': {found}' if found != '' and not holds else ''
        print(f'{time.monotonic() - self.begun:6.1f}s  {"ok  " if holds else "FAIL"}  {what}{note}', flush=True)


def story(checks, scratch, cache, cleanup):
    main, packages = free_port(), free_port()
    watches = {'kolibri': Watch(('127.0.0.1', main)), 'kolibri-packages': Watch(('127.0.0.1', packages))}
    port = free_port()
    lms = kolibri.Kolibri(kolibri.recipe(), scratch, cache, (main, packages), f'https://{HOSTS["kolibri-packages"]}:{port}')
    cleanup.append(lms.stop)
    checks.that(True, 'Kolibri is up')
    edge = Edge(scratch, port, HOSTS, {name: w.port for name, w in watches.items()})
    cleanup.append(edge.stop)
    checks.that(True, 'the edge is up')
    base = f'https://{HOSTS["kolibri"]}:{port}'
    session = lambda: kolibri.Session(HOSTS['kolibri'], port, edge.authority)

    admin = session()
    facility = admin.sign_in(*kolibri.ADMIN)
    ids = {name: admin.add_learner(facility, name, 'Learner.123') for name in ('ada', 'ben')}

    with sync_playwright() as playwright:
        first_course(checks, playwright, scratch, edge, lms, watches, base)
        bodies_are_the_origins(checks, session(), lms, watches)
        for watch in watches.values():
            watch.refuse = (CONTENT,)
        second_course(checks, playwright, scratch, edge, lms, watches, base)
    for watch in watches.values():
        watch.refuse = ()
    nobody_elses_page(checks, session, ids, watches['kolibri'])

    started = time.monotonic()
    status = edge.stop()
    took = time.monotonic() - started
    checks.that(status == 0, 'the edge ends cleanly on SIGTERM', f'exit status {status}')
    checks.that(took < 2, 'and soon', f'{took:.1f} s')


def take_course(checks, learner, lms, base, who):
    """All that a learner does; every step is a check."""
    learner.sign_in(base, learner.name, 'Learner.123')
    checks.that('/learn/' in learner.page.url, f'{who} signs in by the form', learner.page.url)
    titles = learner.titles(base, lms.channel)
    checks.that(len(titles) == 3, f'{who} sees the course', titles)
    at, width = learner.play(base, lms.nodes['mp4'])
    checks.that(at > 2 and width == 1280, f'{who} plays the film', f'{at} s, {width} px')
    at = learner.seek(40)
    checks.that(at > 41, f'{who} jumps in the film and plays on', f'{at} s')
    answer = learner.open_app(base, lms.nodes['zip'])
    checks.that(answer == 42, f'{who} opens the package, its script runs', answer)


def private_went_through(checks, learner, watch, since, who):
    """Each private request of the browser reached the origin: none was answered from the store."""
    for prefix in PRIVATE:
        for method in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE'):
            asked, came = learner.count(prefix, method), watch.count(prefix, method, since)
            # A GET may be sent twice where a connection broke; what changes something may not.
            if asked or came:
                checks.that(came == asked or (method == 'GET' and came > asked),
                            f'{who}: every {method} of {prefix} went to the origin', f'{asked} asked, {came} came')
    checks.that(learner.count('/api/logger/', 'POST') > 0, f'{who}: progress was written')


def first_course(checks, playwright, scratch, edge, lms, watches, base):
    since = watches['kolibri'].mark()
    learner = Learner(playwright, scratch, 'ada', edge.authority)
    try:
        take_course(checks, learner, lms, base, 'first learner')
    except Exception:
        print(learner.tell(scratch), flush=True)
        raise
    finally:
        learner.close()
    quiet = all(w.quiet(CONTENT) for w in watches.values())
    checks.that(quiet, 'all fills of content came to their end')
    private_went_through(checks, learner, watches['kolibri'], since, 'first learner')
    film = [s for s in watches['kolibri'].seen if s.path.endswith('.mp4')]
    checks.that(len(film) > 0, 'the film came from the origin the first time')


def bodies_are_the_origins(checks, anonymous, lms, watches):
    """What the edge stored is what Kolibri has, byte by byte."""
    for path in sorted({s.path for s in watches['kolibri'].seen if s.path.startswith('/content/storage/')}):
        true = kolibri.fetch_plain(f'http://127.0.0.1:{lms.ports[0]}{path}')
        status, _, data = anonymous.call('GET', path)
        checks.that(status == 200 and data == true, f'{path[-12:]} is the origin\'s, whole', f'{status}, {len(data)} of {len(true)}')


def second_course(checks, playwright, scratch, edge, lms, watches, base):
    marks = {name: w.mark() for name, w in watches.items()}
    learner = Learner(playwright, scratch, 'ben', edge.authority)
    try:
        take_course(checks, learner, lms, base, 'second learner, content refused')
    except Exception:
        print(learner.tell(scratch), flush=True)
        raise
    finally:
        learner.close()
    for name, watch in watches.items():
        came = [s.target for s in watch.seen[marks[name]:] if s.path.startswith(CONTENT)]
        checks.that(not came, f'{name}: no request for content since', came)
    wanted = learner.count(CONTENT)
    checks.that(wanted > 3, 'though the browser asked for it', f'{wanted} requests')
    again = {s.path for s in watches['kolibri'].seen[:marks['kolibri']] if s.path.startswith('/static/')} & {
        s.path for s in watches['kolibri'].seen[marks['kolibri']:]}
    checks.that(not again, 'nothing static was fetched twice', sorted(again))
    private_went_through(checks, learner, watches['kolibri'], marks['kolibri'], 'second learner')


def nobody_elses_page(checks, session, ids, watch):
    """Two learners ask the same URLs at the same time, again and again."""
    rounds, people = 20, {name: session() for name in ids}
    for name, person in people.items():
        person.sign_in(name, 'Learner.123')
    since = watch.mark()

    def ask(name):
        person, wrong = people[name], []
        for _ in range(rounds):
            if (found := person.current().get('user_id')) != ids[name]:
                wrong.append(('session', found))
            status, fields, data = person.call('GET', '/api/auth/facilityuser/')
            others = [n for n in ids if n != name and ids[n].encode() in data]
            if status != 200 or others or ids[name].encode() not in data:
                wrong.append(('facilityuser', status, others))
            if 'hit' in fields.get('Cache-Status', '').replace(';', ' ').split():
                wrong.append(('cache-status', fields['Cache-Status']))
        return wrong

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for name, wrong in zip(people, pool.map(ask, people)):
            checks.that(not wrong, f'{name} always sees {name}', wrong[:3])
    for prefix, method in (('/api/auth/session/current/', 'PUT'), ('/api/auth/facilityuser/', 'GET')):
        came = watch.count(prefix, method, since)
        checks.that(came == 2 * rounds, f'{method} {prefix} went to the origin each time', f'{came} of {2 * rounds}')
    stranger = session()
    status, _, data = stranger.call('GET', '/api/auth/facilityuser/')
    checks.that(not any(i.encode() in data for i in ids.values()), 'a stranger sees neither', f'{status} {data[:100]!r}')


def main():
    if kolibri.recipe() is None:
        print('e2e: skipped: no recipe for a real Kolibri here (../shared/lms-facts is absent)')
        return 0
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'lectern-e2e'
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix='lectern-e2e-'))
    checks, cleanup = Checks(), []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        story(checks, scratch, cache, cleanup)
    except Exception as error:  # whatever it was, the processes below must end and the count be printed
        traceback.print_exc()
        checks.that(False, 'the story came to its end', error)
    finally:
        for stop in reversed(cleanup):
            stop()
    if checks.failed:
        print(f'e2e: logs are in {scratch}')
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f'e2e: {checks.passed} passed, {checks.failed} failed')
    return 1 if checks.failed else 0


if __name__ == '__main__':
    sys.exit(main())
