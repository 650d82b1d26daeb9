"""The origin behind all of them: bodies of set bytes, and a log line for every request that reaches it."""
import hashlib
import os
import time

from nginx import configured
from process import GENERATOR_CORE, Server, Setup

CHUNK = 256 << 10
SIZES = {'f1k': 1 << 10, 'f32k': 32 << 10, 'f1m': 1 << 20, 'f16m': 16 << 20, 'f64m': 64 << 20}
# Any path below these is one of the files.
COLD, MANY, SLOW = '/fcold/', '/fmany/', '/fslow/'
UNDER = {COLD: 'f32k', MANY: 'f1k', SLOW: 'f16m'}
# Below /fown/FILE/ each number of nine digits has a body of its own, as long as FILE: see `own`.
OWN, OWN_FIRST = '/fown/', 100_000_000
FILLER = hashlib.shake_256(b'own').hexdigest(1 << 10)
# Half a body at once, the rest after a second: nginx lets a second's worth through at first.
SLOW_RATE = SIZES['f16m'] // 2


def own(file, number):
    """The body of a number. No other number has any 256 KiB of it, nor has it them twice, so that no store can keep it as
    something that it has already."""
    size = SIZES[file]
    rest = FILLER[12:] + FILLER * ((min(size, CHUNK) >> 11) - 1)
    return ''.join(f'{at:03}{number}{rest}' for at in range(max(1, size // CHUNK))).encode()


def own_locations():
    """The same, as nginx says it: from memory, as a file for each body would stand on the disk that is measured. A word of its
    configuration has at most 4 KB."""
    told = ''
    for file in ('f32k', 'f1m', 'f64m'):
        size = SIZES[file]
        body = ''.join(f'{at:03}$n${{r}}' for at in range(max(1, size // CHUNK)))
        told += f'''location ~ "^{OWN}{file}/(?<n>[0-9]{{9}})$" {{
      add_header Cache-Control "public, max-age=36000"; add_header ETag '"{file}-$n"';
      set $f {FILLER}; set $r "{FILLER[12:]}{'$f' * ((min(size, CHUNK) >> 11) - 1)}"; return 200 "{body}"; }}
    '''
    return told


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
    {named} {own_locations()} }}
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
