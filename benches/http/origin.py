"""The origin behind all of them: bodies of set bytes, and a log line for every request that reaches it."""
import hashlib
import os
import time

from nginx import configured
from process import GENERATOR_CORE, Server, Setup

SIZES = {'f1k': 1 << 10, 'f32k': 32 << 10, 'f1m': 1 << 20, 'f16m': 16 << 20, 'f64m': 64 << 20}
# Any path below these is one of the files.
COLD, MANY, SLOW = '/fcold/', '/fmany/', '/fslow/'
UNDER = {COLD: 'f32k', MANY: 'f1k', SLOW: 'f16m'}
# Half a body at once, the rest after a second: nginx lets a second's worth through at first.
SLOW_RATE = SIZES['f16m'] // 2


class Origin(Server):
    """nginx with static files. It stands beside the generator, off the core of what is measured."""

    name = 'origin'
    needs = ('nginx',)

    def __init__(self, folder, certificate):
        super().__init__(folder, Setup(cores=GENERATOR_CORE), certificate)

    def commands(self):
        www = self.folder / 'www'
        www.mkdir()
        for file, size in SIZES.items():
            (www / file).write_bytes(hashlib.shake_256(file.encode()).digest(size))
        named = ''.join(f'location {path} {{ rewrite ^ /{file} break; {f"limit_rate {SLOW_RATE};" if path == SLOW else ""} }}\n'
                        for path, file in UNDER.items())
        return [configured(self, f'''
  log_format path '$request_uri $status'; access_log {self.log} path; sendfile on; tcp_nopush on;
  server {{ listen 127.0.0.1:{self.http} backlog=2048; root {www};
    add_header Cache-Control "public, max-age=36000";
    {named} }}
''')]

    def file(self, name):
        return self.folder / 'www' / name

    def body(self, name):
        return self.file(name).read_bytes()

    def quiet(self, calm=0.06, within=10):
        """Waits until no more lines come: a server may still fill when its clients have gone."""
        end, size, since = time.monotonic() + within, -1, time.monotonic()
        while (now := time.monotonic()) < end:
            if (found := self.log.stat().st_size) != size:
                size, since = found, now
            elif now - since > calm:
                return
            time.sleep(0.01)

    def forget(self):
        """Starts counting anew."""
        self.quiet()
        os.truncate(self.log, 0)

    def asked(self):
        """Requests since `forget`."""
        with open(self.log, 'rb') as log:
            return sum(piece.count(b'\n') for piece in iter(lambda: log.read(1 << 20), b''))
