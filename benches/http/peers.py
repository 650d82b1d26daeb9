"""The servers that are compared, each set as its operator would for speed, and all for the same work."""
import os
import shutil
from pathlib import Path

from nginx import Nginx, NginxCopying, NginxTmpfs
from process import Server, free_port

# What Lectern's memory tier may hold beside a disk, in MiB: so little that what is measured comes from the disk.
BESIDE_DISK = 16


class Lectern(Server):
    """With rules, metrics and access log, as it is run in earnest."""

    name = 'lectern'

    @property
    def store(self):
        return self.folder / 'store'

    def commands(self):
        certificates = self.folder / 'certs'
        certificates.mkdir()
        shutil.copy(self.certificate.cert, certificates / 'bench.crt')
        shutil.copy(self.certificate.key, certificates / 'bench.key')
        # Rules that a request has to be compared with before the one that fits.
        before = ''.join(f'''
[[site.rule]]
name = "course-{n}"
path = "/course-{n}/{{module}}/{{version}}/**"
verdict = "cache"
lifetime = "1h"
''' for n in range(30))
        disk = f'''
[[disk.folder]]
path = "{self.store}"
limit = "{self.setup.store_mib}MiB"
''' if self.setup.disk else ''
        (self.folder / 'lectern.toml').write_text(f'''
[node]
threads = {self.setup.threads}

[cache]
memory = "{BESIDE_DISK if self.setup.disk else self.setup.store_mib}MiB"
body_limit = "128MiB"
{disk}
[[listener]]
name = "plain"
address = "127.0.0.1:{self.http}"
deadlines = {{ idle = "300s" }}

[[listener]]
name = "tls"
address = "127.0.0.1:{self.https}"
tls = {{ certificates = "{certificates}", default = "bench" }}
deadlines = {{ idle = "300s" }}

[control]
address = "127.0.0.1:{free_port()}"

[ledger]
folder = "{self.folder}/ledger"

[log]
access = "{self.log}"

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
        return [[str(Path(os.environ['LECTERN']).resolve()), 'serve', '--config', str(self.folder / 'lectern.toml')]]


class Haproxy(Server):
    """Its memory cache. No access log: it can only send one elsewhere, so this is its best case."""

    name = 'haproxy'
    needs = ('haproxy',)
    logs = False

    def commands(self):
        (self.folder / 'haproxy.cfg').write_text(f'''
global
  nbthread {self.setup.threads}
  maxconn 12000
  no strict-limits
  tune.ssl.cachesize 20000
  ssl-default-bind-options ssl-min-ver TLSv1.3
  tune.bufsize 32768
cache c
  total-max-size {min(self.setup.store_mib, 4095)}
  max-object-size 100000000
  max-age 36000
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 60s
frontend f
  bind 127.0.0.1:{self.http} backlog 2048
  bind 127.0.0.1:{self.https} ssl crt {self.certificate.both} alpn h2,http/1.1 backlog 2048
  default_backend b
backend b
  http-request cache-use c
  http-response cache-store c
  server o 127.0.0.1:{self.origin.http}
''')
        return [['haproxy', '-db', '-f', str(self.folder / 'haproxy.cfg')]]


class Varnish(Server):
    """Varnish with its memory store, hitch before it for TLS, varnishncsa for the access log."""

    name = 'varnish'
    needs = ('varnishd', 'varnishncsa', 'hitch', 'cc')

    def commands(self):
        behind, work = free_port(), self.folder / 'work'
        # A connection takes two of a worker's descriptors; ten thousand would be more than its share.
        workers = max(self.setup.threads, 2 if self.setup.use == 'idle' else 1)
        (self.folder / 'default.vcl').write_text(f'''vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{self.origin.http}"; }}
sub vcl_backend_response {{ set beresp.do_stream = true; }}
''')
        (self.folder / 'hitch.conf').write_text(f'''frontend = {{ host = "127.0.0.1" port = "{self.https}" }}
backend = "[127.0.0.1]:{behind}"
write-proxy-v2 = on
workers = {workers}
backlog = 2048
pem-file = "{self.certificate.both}"
tls-protos = TLSv1.3
alpn-protos = "h2,http/1.1"
daemon = off
syslog = off
log-level = 0
keepalive = 300
{'user = "root"' if os.getuid() == 0 else ''}
''')
        return [['varnishd', '-F', '-j', 'none', '-n', str(work), '-f', str(self.folder / 'default.vcl'), '-T', 'none',
                 '-a', f'plain=127.0.0.1:{self.http}', '-a', f'tls=127.0.0.1:{behind},PROXY', '-s', f'malloc,{self.setup.store_mib}m',
                 '-p', 'feature=+http2', '-p', f'thread_pools={self.setup.threads}', '-p', 'thread_pool_min=100',
                 '-p', 'timeout_idle=300', '-p', 'listen_depth=2048'],
                ['hitch', '--config', str(self.folder / 'hitch.conf')],
                ['varnishncsa', '-n', str(work), '-t', '30', '-a', '-w', str(self.log)]]


class TrafficServer(Server):
    """With its RAM cache before a file of the same size."""

    name = 'trafficserver'
    needs = ('traffic_server',)

    def commands(self):
        root, etc = self.folder, self.folder / 'etc'
        for folder in ('etc', 'run', 'cache'):
            (root / folder).mkdir()
        (root / 'runroot.yaml').write_text(f'''prefix: {root}
exec_prefix: {root}
bindir: /usr/bin
sbindir: /usr/sbin
sysconfdir: {etc}
datadir: {root}
includedir: /usr/include
libdir: /usr/lib/trafficserver
libexecdir: /usr/lib/trafficserver/modules
localstatedir: {root}
runtimedir: {root}/run
logdir: {root}
mandir: {root}
infodir: {root}
cachedir: {root}/cache
''')
        settings = {
            'exec_thread.autoconfig INT': 0, 'exec_thread.limit INT': self.setup.threads, 'accept_threads INT': 0,
            'task_threads INT': 1, 'cache.threads_per_disk INT': 2, 'admin.user_id STRING': '#-1',
            'http.server_ports STRING': f'{self.http}:ip-in=127.0.0.1 {self.https}:ssl:ip-in=127.0.0.1',
            'cache.ram_cache.size INT': f'{self.setup.store_mib}M', 'cache.ram_cache_cutoff INT': 200_000_000,
            'log.logging_enabled INT': 3, 'log.max_secs_per_buffer INT': 1, 'log.rolling_enabled INT': 0,
            'url_remap.remap_required INT': 1, 'url_remap.pristine_host_hdr INT': 1,
            'http.insert_request_via_str INT': 0, 'http.insert_response_via_str INT': 0,
            'ssl.TLSv1_2 INT': 0, 'ssl.server.cert.path STRING': self.certificate.folder,
            'ssl.server.private_key.path STRING': self.certificate.folder,
            'http.cache.required_headers INT': 2, 'http.wait_for_cache INT': 1, 'cache.max_doc_size INT': 0,
            'http.keep_alive_no_activity_timeout_in INT': 300, 'http.transaction_no_activity_timeout_in INT': 300,
            'net.default_inactivity_timeout INT': 300, 'net.connections_throttle INT': 60000, 'net.listen_backlog INT': 2048,
            'cache.enable_read_while_writer INT': 1, 'http.background_fill_active_timeout INT': 0,
            'http.background_fill_completed_threshold FLOAT': 0.0, 'http.cache.max_open_read_retries INT': 50,
            'http.cache.open_read_retry_time INT': 20, 'http2.max_concurrent_streams_in INT': 200}
        (etc / 'records.config').write_text(''.join(f'CONFIG proxy.config.{name} {value}\n' for name, value in settings.items()))
        (etc / 'remap.config').write_text(f'map / http://127.0.0.1:{self.origin.http}/\n')
        (etc / 'storage.config').write_text(f'{root}/cache {self.setup.store_mib}M\n')
        (etc / 'ssl_multicert.config').write_text('dest_ip=* ssl_cert_name=cert.pem ssl_key_name=key.pem\n')
        (etc / 'logging.yaml').write_text('''logging:
  formats:
    - name: common
      format: '%<chi> - %<caun> [%<cqtn>] "%<cqtx>" %<pssc> %<pscl>'
  logs:
    - filename: access
      format: common
      mode: ascii
''')
        for name in ('plugin.config', 'ip_allow.yaml', 'cache.config', 'hosting.config', 'parent.config', 'volume.config',
                     'socks.config', 'splitdns.config', 'sni.yaml', 'strategies.yaml'):
            (etc / name).touch()
        (etc / 'ip_allow.yaml').write_text('ip_allow:\n  - apply: in\n    ip_addrs: 127.0.0.1\n    action: allow\n    methods: ALL\n')
        return [['traffic_server', f'--run-root={root}/runroot.yaml']]


PEERS = (Lectern, Nginx, NginxCopying, NginxTmpfs, Haproxy, Varnish, TrafficServer)
