"""The edge with a store that was made beforehand, and an origin that has nothing."""
import http.client
import itertools
import os
import re
import time
import urllib.request
from pathlib import Path

import content
from cost import family, memory_kib
from nginx import configured
from origin import Origin
from process import Refused, Server, Setup, free_port

# So little that hits come from the disk, in MiB.
MEMORY = 16


class Nothing(Origin):
    """Answers everything with 404, not to be stored."""

    def commands(self):
        return [configured(self, f'''
  log_format path '$request_uri $status'; access_log {self.log} path;
  server {{ listen 127.0.0.1:{self.http} backlog=2048;
    location / {{ add_header Cache-Control no-store always; return 404; }} }}
''')]

    def answers(self):
        try:
            return self.get('/')[0] == 404
        except OSError:
            return False


class Edge(Server):
    """Started over a store; it answers when what stands under `first` came from there."""

    name = 'lectern'

    def __init__(self, folder, origin, store, ledger, limit, first):
        self.disk, self.ledger, self.limit, self.first = store, ledger, limit, first
        self.control = free_port()
        self.begun = time.monotonic()
        super().__init__(folder, Setup(), None, origin)

    def commands(self):
        sites = ''.join(f'''
[[site]]
name = "{content.site(n)}"
hosts = ["{content.host(n)}"]
origin = "files"
[[site.rule]]
name = "content"
prefix = "/content"
verdict = "cache"
lifetime = "10h"
''' for n in range(content.SITES))
        (self.folder / 'lectern.toml').write_text(f'''
[node]
threads = {self.setup.threads}

[cache]
memory = "{MEMORY}MiB"

[[disk.folder]]
path = "{self.disk}"
limit = "{self.limit >> 10}KiB"
responses = 10000000

[[listener]]
name = "plain"
address = "127.0.0.1:{self.http}"

[control]
address = "127.0.0.1:{self.control}"

[ledger]
folder = "{self.ledger}"

[log]
access = "{self.log}"

[[origin]]
name = "files"
servers = ["127.0.0.1:{self.origin.http}"]
{sites}
''')
        return [[str(Path(os.environ['LECTERN']).resolve()), 'serve', '--config', str(self.folder / 'lectern.toml')]]

    def until_it_answers(self, within=120):
        while not self.hit(self.first):
            if not self.runs:
                raise Refused(f'{self.name} ended at start: {self.last_words()}')
            if time.monotonic() > self.begun + within:
                raise Refused(f'{self.name} does not answer from its store: {self.last_words()}')
            time.sleep(0.002)
        self.took = time.monotonic() - self.begun

    def hit(self, number):
        """Whether a page is answered as it was stored."""
        connection = http.client.HTTPConnection('127.0.0.1', self.http, timeout=20)
        try:
            connection.request('GET', content.path(number), headers={'Host': content.host(number)})
            answer = connection.getresponse()
            got = answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if answer.status == 200 and got != content.body(number):
            raise Refused(f'{content.path(number)} has other bytes')
        return answer.status == 200

    def kill(self):
        """As by `kill -9`."""
        for process in self.processes:
            process.kill()
            process.wait()

    def metric(self, name):
        """The sum over all its labels."""
        with urllib.request.urlopen(f'http://127.0.0.1:{self.control}/metrics', timeout=20) as answer:
            told = re.findall(rf'^{name}(?:{{.*}})? (\S+)$', answer.read().decode(), re.M)
        if not told:
            raise Refused(f'{self.name} has no metric {name}')
        return sum(map(float, told))

    def not_found(self, host):
        """The first lines of the log about what this host's pages were answered 404."""
        lines = (line for line in self.log.open() if f'"{host}"' in line and '"status":404' in line)
        return list(itertools.islice(lines, 5))

    def resident_mib(self):
        return memory_kib(family(self.pids)) / 1024
