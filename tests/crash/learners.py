"""Learners, and whoever publishes: what they are owed, and whether they got it."""
import http.client
import json
import random
import threading
import time

from content import HOSTS, Thing, length, path_of, wrong


class Expected:
    """What the edge owes whom: the versions that may be served, and what must still be there after a crash."""

    def __init__(self):
        self.lock = threading.Lock()
        self.lowest = {}        # (host, path): version of the last acknowledged purge
        self.had = {}           # thing: (version, when it had come whole first)
        self.number = 0         # of the last acknowledged purge
        self.purges = 0
        self.wrongs = []

    def at_least(self, thing):
        with self.lock:
            return self.lowest.get((thing.host, thing.path), 1)

    def came(self, thing, version, origin):
        """It came whole. Counts only while no newer version is published."""
        with self.lock:
            if origin.version(thing.host, thing.path) == version and self.had.get(thing, (0, 0))[0] != version:
                self.had[thing] = (version, time.monotonic())

    def came_back(self, things, fetched):
        """What was young at the crash is asked for again: it is on disk by now, unless the origin was asked for its path,
        whichever host's."""
        with self.lock:
            for thing in things:
                if thing in self.had:
                    self.had[thing] = (self.had[thing][0], time.monotonic() if thing.path in fetched else 0.0)

    def published(self, host, path):
        """A new version is published: nothing of the old one need be there any more."""
        with self.lock:
            for thing in [t for t in self.had if (t.host, t.path) == (host, path)]:
                del self.had[thing]

    def acknowledged(self, number, versions):
        with self.lock:
            self.number, self.purges = max(self.number, number), self.purges + 1
            self.lowest.update(versions)

    def is_wrong(self, what):
        with self.lock:
            self.wrongs.append(what)


class Learner:
    """Asks on a connection of its own, kept as long as it holds."""

    def __init__(self, node, origin, expected):
        self.node, self.origin, self.expected = node, origin, expected
        self.connection = None

    def ask(self, thing):
        """Status, fields and body; OSError or HTTPException where the connection breaks."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection('127.0.0.1', self.node.port, timeout=20)
        fields = {'Host': thing.host}
        if thing.span:
            fields['Range'] = 'bytes=%d-%d' % thing.span
        try:
            self.connection.request('GET', thing.path, headers=fields)
            answer = self.connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def judged(self, thing):
        """Asks and judges. Gives the version, or nothing where it was wrong."""
        lowest = self.expected.at_least(thing)
        status, fields, data = self.ask(thing)
        fault = wrong(thing, status, fields, data, (lowest, self.origin.version(thing.host, thing.path)))
        if fault:
            self.expected.is_wrong(f'{thing}: {fault} ({fields.get("cache-status")})')
            return None
        version = int(fields['x-version'])
        self.expected.came(thing, version, self.origin)
        return version

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class Load:
    """Learners and a publisher at work until told to stop, on the paths below `paths`, mostly the last `new` of them.
    What breaks before they are told is wrong."""

    def __init__(self, node, origin, expected, seed, paths, new, learners=6):
        self.node, self.origin, self.expected = node, origin, expected
        self.paths, self.new = range(paths), range(paths - new, paths)
        self.ending, self.over = threading.Event(), threading.Event()
        self.asked = 0
        works = [(self.learn, n) for n in range(learners)] + [(self.publish, learners)]
        self.threads = [threading.Thread(target=work, args=(random.Random(f'{seed} {n}'),), daemon=True) for work, n in works]
        for thread in self.threads:
            thread.start()

    def may_break(self):
        """The end is near: it is not wrong from here on that a connection breaks."""
        self.ending.set()

    def join(self):
        self.over.set()
        for thread in self.threads:
            thread.join(timeout=30)
            if thread.is_alive():
                self.expected.is_wrong('a learner hangs')

    def broke(self, what, error):
        if not self.ending.is_set():
            self.expected.is_wrong(f'{what}: {error!r} while the edge was up')
        self.over.set()

    def thing(self, draw):
        host, path = draw.choice(HOSTS), path_of(draw.choice(self.new if draw.random() < 0.6 else self.paths))
        if length(path) < 2048 or draw.random() < 0.6:
            return Thing(host, path)
        first = draw.randrange(length(path) - 1)
        return Thing(host, path, (first, min(length(path) - 1, first + draw.choice((0, 1000, 300_000, 3_000_000)))))

    def learn(self, draw):
        learner = Learner(self.node, self.origin, self.expected)
        while not self.over.wait(draw.uniform(0, 0.02)):
            thing = self.thing(draw)
            lowest = self.expected.at_least(thing)
            try:
                learner.judged(thing)
                self.asked += 1
            except (OSError, http.client.HTTPException) as error:
                # What was begun in one version and cannot be ended in it ends uncleanly, rather than in another.
                if self.ending.is_set() or lowest == self.origin.version(thing.host, thing.path):
                    self.broke(thing, error)
        learner.close()

    def publish(self, draw):
        """New versions, each followed by its purge; once in a while all of a site."""
        while not self.over.wait(draw.uniform(0.01, 0.1)):
            host = draw.choice(HOSTS)
            if draw.random() < 0.02:
                what = {'kind': 'site', 'site': host[0], 'reason': 'crash test'}
                paths = [path_of(n) for n in self.paths]
            else:
                paths = [path_of(draw.choice(self.paths))]
                what = {'kind': 'url', 'url': f'http://{host}{paths[0]}', 'reason': 'crash test'}
            versions = {}
            for path in paths:
                versions[host, path] = self.origin.change(host, path)
                self.expected.published(host, path)
            try:
                status, text = self.node.call('POST', '/v1/purges', what)
            except (OSError, http.client.HTTPException) as error:
                self.broke(f'purge of {what}', error)
                return
            self.acknowledged(status, text, versions)

    def acknowledged(self, status, text, versions):
        answer = json.loads(text) if status == 200 else {}
        if answer.get('applied') is True:
            self.expected.acknowledged(answer['number'], versions)
        elif not self.ending.is_set():
            self.expected.is_wrong(f'a purge was answered {status}: {text}')
