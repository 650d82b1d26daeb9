"""How a server is started, pinned, proved and ended. What is started here ends with this program, however that ends."""
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# Debian puts servers where an ordinary user's PATH does not look.
PATH = os.environ['PATH'] + ':/usr/sbin:/sbin'
SERVER_CORE, GENERATOR_CORE = '0', '1'


class Refused(Exception):
    """A run or a server whose figures would say nothing, and why."""


@dataclass(frozen=True)
class Setup:
    """How a server is set for a case: the same for every peer."""

    threads: int = 1
    cores: str = SERVER_CORE
    store_mib: int = 1024  # what it may keep
    disk: bool = False     # it keeps that on a disk, and little of it in memory of its own
    use: str = ''          # cases that must have a server for themselves say what for


def program(name):
    """Where a program lies, or nothing."""
    return shutil.which(name, path=PATH)


PORTS_GIVEN = set()


def free_port():
    """One that nobody listens at, and that was not given out before."""
    while True:
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = s.getsockname()[1]
        if port not in PORTS_GIVEN:
            PORTS_GIVEN.add(port)
            return port


class Server:
    """One or more processes that answer on an HTTP and an HTTPS port, with a folder of their own."""

    name = ''      # and its setting, if a peer has several: 'nginx copying'
    column = ''    # where it is reported; absent: under the first word of its name
    needs = ()     # programs
    logs = True    # whether an access log is written (to access.log)
    store = None   # folder of what it keeps on a disk

    def __init__(self, folder, setup, certificate, origin=None):
        self.folder, self.setup, self.certificate, self.origin = folder, setup, certificate, origin
        folder.mkdir()
        folder.chmod(0o755)
        self.http, self.https = free_port(), free_port()
        self.processes = []
        try:
            for command in self.commands():
                self.start(command)
            self.until_it_answers()
        except BaseException:
            self.stop()
            raise

    def commands(self):
        """Command lines, in the order of their start."""
        raise NotImplementedError

    def start(self, command):
        with open(self.folder / f'output-{len(self.processes)}.log', 'wb') as log:
            self.processes.append(subprocess.Popen(
                ['setpriv', '--pdeathsig', 'TERM', 'taskset', '-c', self.setup.cores, program(command[0]) or command[0], *command[1:]],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder))

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def pids(self):
        return [p.pid for p in self.processes]

    @property
    def runs(self):
        return all(p.poll() is None for p in self.processes)

    def until_it_answers(self, within=40):
        end = time.monotonic() + within
        while not self.answers():
            if not self.runs:
                raise Refused(f'{self.name} ended at start: {self.last_words()}')
            if time.monotonic() > end:
                raise Refused(f'{self.name} does not answer: {self.last_words()}')
            time.sleep(0.05)

    def answers(self):
        try:
            return self.get('/f1k')[0] == 200
        except OSError:
            return False

    def last_words(self):
        return ' '.join(p.read_text(errors='replace')[-800:].strip() for p in sorted(self.folder.glob('*.log')) if p.name != 'access.log')

    def connect(self, tls):
        if tls:
            trust_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trust_nobody.check_hostname, trust_nobody.verify_mode = False, ssl.CERT_NONE
            return http.client.HTTPSConnection('127.0.0.1', self.https, timeout=20, context=trust_nobody)
        return http.client.HTTPConnection('127.0.0.1', self.http, timeout=20)

    def get(self, path, tls=False, fields=()):
        """Status, body and the length of the head of one request, which looks like wrk's."""
        connection = self.connect(tls)
        try:
            connection.putrequest('GET', path, skip_accept_encoding=True)
            for name, value in fields:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            head = len('HTTP/1.1 ') + 3 + 1 + len(answer.reason) + 2 + sum(len(n) + len(v) + 4 for n, v in answer.getheaders()) + 2
            return answer.status, answer.read(), head
        except http.client.HTTPException as error:
            raise OSError(error) from error
        finally:
            connection.close()

    def prove(self, path, body, tls=False, times=3):
        """Asks until it must be stored, compares byte for byte, and tells the length of a head."""
        for _ in range(times):
            status, got, head = self.get(path, tls)
            if status != 200 or got != body:
                raise Refused(f'{self.name} answers {path} with {status} and {len(got)} bytes, not the origin\'s 200 and {len(body)}')
        return head

    @property
    def log(self):
        return self.folder / 'access.log'

    def empty_log(self):
        """So that the disk does not fill; servers append to it."""
        if self.logs and self.log.exists():
            os.truncate(self.log, 0)

    def logged(self, within=5):
        """Whether it writes its access log; lines may come late."""
        end = time.monotonic() + within
        while self.logs and not (self.log.exists() and self.log.stat().st_size):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


@dataclass(frozen=True)
class Certificate:
    """An ECDSA P-256 certificate for all of them, and what a generator may offer: TLS 1.3, AES-128-GCM, X25519."""

    folder: Path

    cert = property(lambda self: self.folder / 'cert.pem')
    key = property(lambda self: self.folder / 'key.pem')
    both = property(lambda self: self.folder / 'both.pem')
    offer = property(lambda self: self.folder / 'openssl.cnf')

    @staticmethod
    def make(folder):
        made = Certificate(folder)
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
                        '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
                        '-keyout', made.key, '-out', made.cert], check=True, capture_output=True)
        made.both.write_bytes(made.cert.read_bytes() + made.key.read_bytes())
        made.key.chmod(0o644)  # it lives as long as this run, and servers that drop root read it
        made.both.chmod(0o644)
        made.offer.write_text('openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = client\n[client]\n'
                              'MinProtocol = TLSv1.3\nCiphersuites = TLS_AES_128_GCM_SHA256\nGroups = X25519\n')
        return made
