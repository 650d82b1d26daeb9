"""The edge of the crash test: one folder that it is started on again and again."""
import http.client
import json
import os
import re
import socket
import subprocess
import time

from content import HOSTS

BINARY = os.environ.get('LECTERN', 'lectern')


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Node:
    """`lectern serve` with a memory tier of 8 MiB and `folders` disk folders; `data` below its folder is the medium."""

    def __init__(self, folder, origin, folders):
        self.folder, self.data = folder, folder / 'data'
        self.data.mkdir(parents=True)
        self.port, self.control = free_port(), free_port()
        self.process, self.begun = None, 0.0
        self.log = folder / 'lectern.log'
        self.read = 0
        told = subprocess.run([BINARY, 'token', 'crash', '--roles', 'purge'], capture_output=True, text=True, check=True)
        told = told.stdout + told.stderr
        self.token = re.search(r'lectern_\S+', told)[0]
        (folder / 'tokens').write_text(re.search(r'crash blake3:\S+ \S+', told)[0] + '\n')
        disks = ''.join(f'[[disk.folder]]\npath = "data/disk{n}"\nlimit = "1GiB"\n' for n in range(folders))
        sites = ''.join(f'[[site]]\nname = "{h[0]}"\nhosts = ["{h}"]\norigin = "lms"\n' for h in HOSTS)
        (folder / 'lectern.toml').write_text(f'''
[node]
threads = 2
[log]
access = "access.log"
[cache]
memory = "8MiB"
[disk]
write_queue = "64MiB"
{disks}
[ledger]
folder = "data/ledger"
snapshot_records = 3
[control]
address = "127.0.0.1:{self.control}"
tokens = "tokens"
whole_purge_pause = "0s"
[[listener]]
name = "web"
address = "127.0.0.1:{self.port}"
[[origin]]
name = "lms"
servers = ["127.0.0.1:{origin.port}"]
{sites}''')

    def start(self, environment=None):
        with open(self.log, 'ab') as log:
            self.begun = time.monotonic()
            self.process = subprocess.Popen([BINARY, 'serve', '--config', 'lectern.toml'], cwd=self.folder, env=environment,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ready(self, within=20):
        """Waits until it accepts; a Node that ends instead is an error."""
        end = time.monotonic() + within
        while True:
            if (status := self.process.poll()) is not None:
                raise RuntimeError(f'it ended at start with {status}: {self.tail()}')
            try:
                socket.create_connection(('127.0.0.1', self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise RuntimeError(f'it does not listen: {self.tail()}') from None
                time.sleep(0.002)

    def ends(self, within):
        """Whether it ends by itself."""
        try:
            self.process.wait(within)
            return True
        except subprocess.TimeoutExpired:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def call(self, method, path, what=None):
        """A call of the control API; status and body."""
        connection = http.client.HTTPConnection('127.0.0.1', self.control, timeout=20)
        try:
            connection.request(method, path, json.dumps(what) if what else None,
                               {'Authorization': f'Bearer {self.token}', 'Content-Type': 'application/json'})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name, label=''):
        """The sum of a metric's series whose labels hold `label`."""
        _, text = self.call('GET', '/metrics')
        rows = (line.rsplit(' ', 1) for line in text.splitlines() if re.match(name + r'[{ ]', line) and label in line)
        return sum(float(value) for _, value in rows)

    def state(self):
        """Whether it runs, and what it said last if it does not."""
        status = self.process.poll()
        return 'it runs' if status is None else f'it ended with {status}: {self.tail()}'

    def tail(self):
        return self.log.read_text(errors='replace')[-2000:]

    def panics(self):
        """Lines of the error log since the last call that tell of a panic."""
        with open(self.log, errors='replace') as log:
            log.seek(self.read)
            lines = log.read().splitlines()
            self.read = log.tell()
        return [line for line in lines if 'panicked' in line]
