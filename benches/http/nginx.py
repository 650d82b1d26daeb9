"""nginx, as the origin and as a peer: its proxy_cache in two settings, and a third for what the disk costs."""
import os
import shutil
import tempfile
from pathlib import Path

from process import Server

HEAD = '''daemon off; worker_processes {threads}; pid {f}/pid; error_log {f}/error.log warn; {user}
events {{ worker_connections 16000; }}
http {{
  types {{ }} default_type application/octet-stream;
  client_body_temp_path {f}/a; proxy_temp_path {f}/b; fastcgi_temp_path {f}/c; uwsgi_temp_path {f}/d; scgi_temp_path {f}/e;
  tcp_nodelay on; keepalive_timeout 300; keepalive_requests 100000000;
  open_file_cache max=20000 inactive=60s; open_file_cache_valid 60s;
'''


def configured(server, body):
    """The command line of an nginx with this http section."""
    user = 'user root;' if os.getuid() == 0 else ''
    conf = server.folder / 'nginx.conf'
    conf.write_text(HEAD.format(f=server.folder, user=user, threads=server.setup.threads) + body + '}\n')
    return ['nginx', '-e', str(server.folder / 'error.log'), '-c', str(conf)]


class Nginx(Server):
    """With sendfile. Its store lies on the disk, as it is run."""

    name = 'nginx'
    needs = ('nginx',)
    copying = 'sendfile on; tcp_nopush on;'

    @property
    def store(self):
        return self.folder / 'cache'

    def commands(self):
        return [configured(self, f'''
  {self.copying}
  proxy_cache_path {self.store} levels=1:2 keys_zone=c:256m max_size={self.setup.store_mib}m inactive=10h use_temp_path=off;
  access_log {self.log} combined buffer=64k flush=1s;
  ssl_certificate {self.certificate.cert}; ssl_certificate_key {self.certificate.key};
  ssl_protocols TLSv1.3; ssl_session_cache shared:S:10m;
  upstream origin {{ server 127.0.0.1:{self.origin.http}; keepalive 64; }}
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_cache_lock on; proxy_cache_lock_timeout 60s; proxy_cache_lock_age 60s; proxy_cache_key $host$request_uri;
  proxy_buffers 16 32k; proxy_buffer_size 32k; proxy_busy_buffers_size 64k;
  server {{ listen 127.0.0.1:{self.http} backlog=2048; listen 127.0.0.1:{self.https} ssl http2 backlog=2048;
    location / {{ proxy_pass http://origin; proxy_cache c; }} }}
''')]


class NginxCopying(Nginx):
    """With bodies read into large buffers: better where TLS copies them anyway."""

    name = 'nginx copying'
    copying = 'sendfile off; ssl_buffer_size 16k; output_buffers 2 256k;'


class NginxTmpfs(Nginx):
    """With its store in memory, where the system has such a folder: a column of its own."""

    name = column = 'nginx tmpfs'
    shared_memory = Path('/dev/shm')

    @property
    def store(self):
        if not hasattr(self, 'made'):
            self.made = Path(tempfile.mkdtemp(prefix='lectern-bench-', dir=self.shared_memory if self.shared_memory.is_dir() else None))
        return self.made

    def stop(self):
        super().stop()
        shutil.rmtree(self.store, ignore_errors=True)
