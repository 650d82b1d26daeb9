"""The edge under test: the shipped configuration for Kolibri with this test's ports and names."""
import json
import os
import socket
import subprocess
import time
import tomllib
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def inline(value):
    """A value as TOML on one line."""
    if isinstance(value, dict):
        return '{ ' + ', '.join(f'{json.dumps(k)} = {inline(v)}' for k, v in value.items()) + ' }'
    if isinstance(value, list):
        return '[' + ', '.join(map(inline, value)) + ']'
    return json.dumps(value, ensure_ascii=False)


class Edge:
    """`lectern serve` with `config/examples/kolibri.toml`. `origins`: {name of the origin there: port}."""

    def __init__(self, scratch, port, hosts, origins):
        self.binary = os.environ.get('LECTERN', 'lectern')
        self.folder = scratch / 'edge'
        self.folder.mkdir()
        self.port, self.control = port, free_port()
        self.certificates = self.folder / 'certs'
        subprocess.run([self.binary, 'certs', self.certificates, *hosts.values()], check=True, stdout=subprocess.DEVNULL)
        self.config = self.folder / 'kolibri.toml'
        shipped = tomllib.loads((ROOT / 'config/examples/kolibri.toml').read_text())
        settings = self.substituted(shipped, hosts, origins)
        self.config.write_text('\n'.join(f'{k} = {inline(v)}' for k, v in settings.items()) + '\n')
        self.log = open(self.folder / 'lectern.log', 'wb')
        self.process = subprocess.Popen(
            [self.binary, 'serve', '--config', self.config], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        self.ready()

    @property
    def authority(self):
        """Certificate of the authority that the development certificates come from."""
        return self.certificates / 'development-ca.pem'

    def substituted(self, settings, hosts, origins):
        """The same rules; addresses, hosts, folders of this test."""
        settings['listener'] = [{'name': 'learners', 'address': f'127.0.0.1:{self.port}',
                                 'tls': {'certificates': str(self.certificates)}}]
        settings['control'] = {'address': f'127.0.0.1:{self.control}'}
        settings['ledger'] = {'folder': str(self.folder / 'ledger')}
        settings['log'] = {'access': str(self.folder / 'access.log')}
        for origin in settings['origin']:
            origin['servers'] = [f'127.0.0.1:{origins[origin["name"]]}']
            origin.pop('tls', None)
        for site in settings['site']:
            site['hosts'] = [hosts[site['origin']]]
        return settings

    def ready(self, within=30):
        end = time.monotonic() + within
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f'the edge ended at start:\n{self.tail()}')
            try:
                with urllib.request.urlopen(f'http://127.0.0.1:{self.control}/readyz', timeout=2):
                    return
            except OSError:
                if time.monotonic() > end:
                    raise RuntimeError(f'the edge is not ready:\n{self.tail()}') from None
                time.sleep(0.05)

    def tail(self):
        return (self.folder / 'lectern.log').read_text(errors='replace')[-3000:]

    def stop(self, within=15):
        """Ends it as an operator would; returns its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None
