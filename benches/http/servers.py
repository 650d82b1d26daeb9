"""The servers that are compared, and the origin behind them: each started on free ports, pinned to one core."""
import hashlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

from measure import SERVER_CORE, SIZES


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Process:
    """Something started here, with a folder of its own."""

    name = ''
    logs = True

    def __init__(self, scratch, origin=None):
        self.folder = scratch / self.name.replace(' ', '-')
        self.folder.mkdir()
        self.scratch, self.origin = scratch, origin
        self.http, self.https = free_port(), free_port()
        command = self.command()
        self.log = open(self.folder / 'output.log', 'wb')
        self.process = subprocess.Popen(['taskset', '-c', SERVER_CORE, *command], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL, cwd=self.folder)
        self.pid = self.process.pid
        self.wait()

    def command(self):
        raise NotImplementedError

    def wait(self, within=30):
        end = time.monotonic() + within
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f'{self.name} ended at start: {self.tail()}')
            try:
                status, _ = self.get('/f1k')
                if status == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > end:
                raise RuntimeError(f'{self.name} does not answer: {self.tail()}')
            time.sleep(0.05)

    def tail(self):
        return ''.join(p.read_text(errors='replace')[-1500:] for p in (self.folder / 'output.log', self.folder / 'error.log')
                       if p.exists())

    def get(self, path, tls=False):
        """Status and body of one request."""
        if tls:
            trust_nobody = ssl.create_default_context()
            trust_nobody.check_hostname, trust_nobody.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection('127.0.0.1', self.https, timeout=10, context=trust_nobody)
        else:
            connection = http.client.HTTPConnection('127.0.0.1', self.http, timeout=10)
        try:
            connection.request('GET', path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(error) from error
        finally:
            connection.close()

    def warm(self, bodies):
        """Every file is asked until it is stored, and compared."""
        for file, body in bodies.items():
            for tls in (False, True):
                for _ in range(3):
                    status, got = self.get(f'/{file}', tls)
                    if status != 200 or got != body:
                        raise RuntimeError(f'{self.name} answers /{file} with {status} and {len(got)} bytes, not the origin\'s')

    def empty_log(self):
        """So that the disk does not fill; servers append to it."""
        if self.logs:
            os.truncate(self.folder / 'access.log', 0)

    def logged(self, within=5):
        """Whether it writes its access log; lines may come late."""
        end = time.monotonic() + within
        while self.logs and (self.folder / 'access.log').stat().st_size == 0:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


NGINX_HEAD = '''daemon off; worker_processes 1; pid {f}/pid; error_log {f}/error.log warn; {user}
events {{ worker_connections 8192; }}
http {{
  types {{ }} default_type application/octet-stream;
  client_body_temp_path {f}/a; proxy_temp_path {f}/b; fastcgi_temp_path {f}/c; uwsgi_temp_path {f}/d; scgi_temp_path {f}/e;
  tcp_nodelay on; keepalive_timeout 75; keepalive_requests 100000000;
  open_file_cache max=20000 inactive=60s; open_file_cache_valid 60s;
'''


def nginx(folder, body):
    user = 'user root;' if os.getuid() == 0 else ''
    (folder / 'nginx.conf').write_text(NGINX_HEAD.format(f=folder, user=user) + body + '}\n')
    program = shutil.which('nginx', path=os.environ['PATH'] + ':/usr/sbin') or 'nginx'
    return [program, '-e', str(folder / 'error.log'), '-c', str(folder / 'nginx.conf')]


class Origin(Process):
    """Static files from memory pages, and a log line for every request."""

    name = 'origin'

    def command(self):
        www = self.folder / 'www'
        www.mkdir()
        for file, size in SIZES.values():
            (www / file).write_bytes(hashlib.shake_256(file.encode()).digest(size))
        return nginx(self.folder, f'''
  access_log {self.folder}/access.log; sendfile on; tcp_nopush on;
  server {{ listen 127.0.0.1:{self.http} backlog=1024; root {www};
    location / {{ add_header Cache-Control "public, max-age=36000"; }} }}
''')

    @property
    def bodies(self):
        return {file: (self.folder / 'www' / file).read_bytes() for file, _ in SIZES.values()}

    def lines(self):
        return (self.folder / 'access.log').read_bytes().count(b'\n')


class Nginx(Process):
    """proxy_cache with sendfile, access log on."""

    name = 'nginx'
    copying = 'sendfile on; tcp_nopush on;'

    def command(self):
        return nginx(self.folder, f'''
  {self.copying}
  proxy_cache_path {self.folder}/cache levels=1:2 keys_zone=c:64m max_size=4g inactive=10h use_temp_path=off;
  access_log {self.folder}/access.log combined buffer=64k flush=1s;
  ssl_certificate {self.scratch}/cert.pem; ssl_certificate_key {self.scratch}/key.pem;
  ssl_protocols TLSv1.3; ssl_session_cache shared:S:10m;
  upstream origin {{ server 127.0.0.1:{self.origin.http}; keepalive 64; }}
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_cache_lock on; proxy_cache_key $host$request_uri; proxy_buffers 16 32k; proxy_buffer_size 32k; proxy_busy_buffers_size 64k;
  server {{ listen 127.0.0.1:{self.http} backlog=2048; listen 127.0.0.1:{self.https} ssl http2 backlog=2048;
    location / {{ proxy_pass http://origin; proxy_cache c; }} }}
''')


class NginxCopying(Nginx):
    """The same with bodies read into large buffers: better where TLS copies them anyway."""

    name = 'nginx copying'
    copying = 'sendfile off; ssl_buffer_size 16k; output_buffers 2 256k;'


class Haproxy(Process):
    """Its memory cache, no access log (it can only send it elsewhere)."""

    name = 'haproxy'
    logs = False

    def command(self):
        (self.folder / 'haproxy.cfg').write_text(f'''
global
  nbthread 1
  maxconn 8192
  tune.ssl.cachesize 20000
  ssl-default-bind-options ssl-min-ver TLSv1.3
  tune.bufsize 32768
cache c
  total-max-size 256
  max-object-size 4000000
  max-age 36000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:{self.http} backlog 2048
  bind 127.0.0.1:{self.https} ssl crt {self.scratch}/both.pem alpn h2,http/1.1 backlog 2048
  default_backend b
backend b
  http-request cache-use c
  http-response cache-store c
  server o 127.0.0.1:{self.origin.http}
''')
        program = shutil.which('haproxy', path=os.environ['PATH'] + ':/usr/sbin') or 'haproxy'
        return [program, '-db', '-f', str(self.folder / 'haproxy.cfg')]


class Lectern(Process):
    """With rules, metrics and access log, as it is run in earnest."""

    name = 'lectern'

    def command(self):
        certificates = self.folder / 'certs'
        certificates.mkdir()
        shutil.copy(self.scratch / 'cert.pem', certificates / 'bench.crt')
        shutil.copy(self.scratch / 'key.pem', certificates / 'bench.key')
        # Rules that a request has to be compared with before the one that fits.
        before = ''.join(f'''
[[site.rule]]
name = "course-{n}"
path = "/course-{n}/{{module}}/{{version}}/**"
verdict = "cache"
lifetime = "1h"
''' for n in range(30))
        (self.folder / 'lectern.toml').write_text(f'''
[[listener]]
name = "plain"
address = "127.0.0.1:{self.http}"

[[listener]]
name = "tls"
address = "127.0.0.1:{self.https}"
tls = {{ certificates = "{certificates}", default = "bench" }}

[control]
address = "127.0.0.1:{free_port()}"

[ledger]
folder = "{self.folder}/ledger"

[log]
access = "{self.folder}/access.log"

[[origin]]
name = "files"
servers = ["127.0.0.1:{self.origin.http}"]

[[site]]
name = "bench"
hosts = ["127.0.0.1", "localhost"]
origin = "files"
{before}
[[site.rule]]
name = "files"
prefix = "/f"
verdict = "cache"
lifetime = "10h"
shared = true
''')
        return [str(Path(os.environ['LECTERN']).resolve()), 'serve', '--config', str(self.folder / 'lectern.toml')]


def certificate(scratch):
    """An ECDSA certificate for all of them."""
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
                    '-keyout', scratch / 'key.pem', '-out', scratch / 'cert.pem'], check=True, capture_output=True)
    (scratch / 'both.pem').write_bytes((scratch / 'cert.pem').read_bytes() + (scratch / 'key.pem').read_bytes())


def versions():
    """Versions of what takes part, as each program says it."""
    path = os.environ['PATH'] + ':/usr/sbin'
    told = {}
    for name, command in (('lectern', [os.environ.get('LECTERN', ''), '--version']), ('nginx', ['nginx', '-v']),
                          ('haproxy', ['haproxy', '-v']), ('wrk', ['wrk', '-v']), ('h2load', ['h2load', '--version']),
                          ('rustc', ['rustc', '--version'])):
        program = shutil.which(command[0], path=path)
        if program:
            out = subprocess.run([program, *command[1:]], capture_output=True, text=True)
            told[name] = (out.stdout + out.stderr).strip().splitlines()[0].split(' - ')[0].split(' Copyright')[0].split(' [')[0].replace(' version:', '').replace(' version', '')
    return told
