"""Lectern as the public failure reports (../shared/fieldtests) see it. Found there through FIELDTESTS_ADAPTERS=tests/field."""
import json
import os
import signal
import subprocess
import sys

from adapters import Base, free_port

# FIELD_ASKED: the origin decides who may have what is stored.
asked = None
if os.environ.get('FIELD_ASKED'):
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import asked
    asked.play()

# The hosts of the cases; what else comes goes to the same site (`default_site`).
HOSTS = ['*.lms-a.example', '*.lms-b.example', 'lms-a.example', 'lms-b.example']


def quoted(value):
    """A value as TOML on one line."""
    if isinstance(value, list):
        return '[' + ', '.join(map(quoted, value)) + ']'
    return json.dumps(str(value) if not isinstance(value, (int, float, bool, str)) else value)


class Adapter(Base):
    name = 'lectern'
    # What works today. A case that needs more is reported as `na`.
    caps = {'cache', 'collapse', 'tls', 'h2', 'h2c', 'mem_limit', 'revalidate', 'swr', 'sie', 'stale_if_error', 'negative_ttl', 'negative_cap',
            'multi_host', 'forced_ttl', 'purge', 'purge_prefix', 'purge_tag', 'purge_all', 'h2_origin', 'origin_max', 'reload', 'websocket', 'upload',
            'mounts', 'version_rule', 'metrics', 'certs', 'dns', 'slices', 'disk', 'disk_limit', 'restart_keeps_cache'}

    def __init__(self, *args, **named):
        super().__init__(*args, **named)
        self.control = ('127.0.0.1', free_port())
        self.cache_dir = self.opts.get('disk_dir') or os.path.join(self.tmp, 'store')
        self.token = ''
        self.cert_files = {}

    @property
    def binary(self):
        return os.environ.get('LECTERN', 'lectern')

    def command(self):
        return [self.binary, 'serve', '--config', self.config]

    def configure(self):
        self.config = os.path.join(self.tmp, 'lectern.toml')
        self.write_certificates()
        tokens = os.path.join(self.tmp, 'tokens')
        if not os.path.exists(tokens):
            self.write_token(tokens)
        text = self.text(tokens)
        with open(self.config, 'w') as f:
            f.write(text)

    def write_certificates(self):
        """A folder of pairs: the one for all, and one for each name that a case asks for."""
        import lib
        self.certificates = os.path.join(self.tmp, 'certs')
        if os.path.isdir(self.certificates):
            return
        os.mkdir(self.certificates)
        for kind, source in (('crt', self.cert), ('key', self.key)):
            with open(source, 'rb') as f, open(os.path.join(self.certificates, f'edge.{kind}'), 'wb') as to:
                to.write(f.read())
        for name in self.opts.get('certs') or []:
            self.cert_files[name] = lib.make_cert(self.certificates, name, (name,))[:2]

    def write_token(self, path):
        """`lectern token NAME --roles ROLES` shows a token, and the line for the file of accepted ones."""
        told = subprocess.run([self.binary, 'token', 'field', '--roles', 'purge'], capture_output=True, text=True, check=True)
        self.token, line = (x.split(': ', 1)[1] for x in told.stdout.splitlines()[:2])
        with open(path, 'w') as f:
            f.write(line + '\n')

    def text(self, tokens):
        o = self.opts
        server = f'{self.origin[0]}:{self.origin[1]}'
        if o.get('origin_name'):
            server = f'{o["origin_name"]}:{self.origin[1]}'
        deadlines = ', '.join(f'{key} = "{int(o[opt])}s"' for key, opt in (('head', 'header_timeout'), ('idle', 'idle_timeout'))
                              if o.get(opt))
        deadlines = f'deadlines = {{ {deadlines} }}' if deadlines else ''
        minimum = f', min_version = {quoted(o["tls_min"])}' if o.get('tls_min') else ''
        origins = {'origin': server}
        sites = [('all', HOSTS, 'origin')]
        for n, (host, (address, port)) in enumerate((o.get('multi_host') or {}).items()):
            origins[f'origin-{n}'] = f'{address}:{port}'
            sites.append((f'host-{n}', [host], f'origin-{n}'))
        parts = [f'''
default_site = "all"

[[listener]]
name = "plain"
address = "{self.base[0]}:{self.base[1]}"
{deadlines}

[[listener]]
name = "tls"
address = "{self.tls[0]}:{self.tls[1]}"
tls = {{ certificates = {quoted(self.certificates)}, default = "edge"{minimum} }}
{deadlines}

[control]
address = "{self.control[0]}:{self.control[1]}"
tokens = {quoted(tokens)}

[ledger]
folder = {quoted(os.path.join(self.tmp, 'ledger'))}

[log]
access = {quoted(os.path.join(self.tmp, 'access.log'))}
''']
        # FIELD_MEMORY: a memory tier so small that nearly all is read from disk.
        memory = o.get('mem_limit') or os.environ.get('FIELD_MEMORY')
        if memory:
            parts.append(f'[cache]\nmemory = {int(memory)}\n')
        limit = int(o.get('disk_limit') or 2 << 30)
        parts.append(f'[[disk.folder]]\npath = {quoted(self.cache_dir)}\nlimit = {limit}\n')
        for name, at in origins.items():
            more = 'http = "2"\n' if o.get('origin_h2') else ''
            if o.get('origin_max'):
                more += f'in_flight = {int(o["origin_max"])}\n'
            if o.get('dns'):
                more += f'dns_servers = ["{o["dns"][0]}:{o["dns"][1]}"]\ndns_ceiling = "1s"\n'
            parts.append(f'[[origin]]\nname = "{name}"\nservers = ["{at}"]\n{more}')
        for mount in o.get('mounts') or []:
            parts.append(f'[[origin]]\nname = "mounted-{mount["to_host"]}"\nservers = ["{server}"]\n')
        for name, hosts, origin in sites:
            parts.append(f'[[site]]\nname = "{name}"\nhosts = {quoted(hosts)}\norigin = "{origin}"\n{self.rules()}')
        return '\n'.join(parts)

    def rules(self):
        """Forced lifetimes and told ones by prefix; what is said of errors is said of every path."""
        o, text = self.opts, ''
        for mount in o.get('mounts') or []:
            host, path = mount['to_host'], mount['to_prefix']
            text += '\n'.join(['', '[[site.rule]]', f'name = "mounted-{host}"', f'prefix = {quoted(mount["prefix"])}', 'verdict = "cache"',
                               'negative_lifetime = "5s"', f'mount = {{ origin = "mounted-{host}", host = "{host}", path = "{path}" }}', ''])
        if asked:
            text += asked.rules()
        for n, rule in enumerate(o.get('version_rule') or []):
            text += '\n'.join(['', '[[site.rule]]', f'name = "version-{n}"', f'prefix = {quoted(rule["prefix"])}', 'verdict = "cache"',
                               f'version = {{ query = {quoted(rule["param"])}, field = {quoted(rule["field"])} }}', ''])
        rules = [(f'forced-{n}', prefix, [f'lifetime = "{int(s)}s"']) for n, (prefix, s) in enumerate(o.get('forced_ttl') or [])]
        rules += [(f'told-{n}', prefix, [f'browser_lifetime = "{int(s)}s"'])
                  for n, (prefix, s) in enumerate(o.get('client_ttl_cap') or [])]
        policy = []
        if o.get('negative_ttl'):
            policy += [f'lifetime = "{int(o["negative_ttl"])}s"', 'statuses = [404, 410]']
        if o.get('negative_cap'):
            policy.append(f'negative_lifetime = "{int(o["negative_cap"])}s"')
        if o.get('stale_if_error'):
            policy.append(f'stale_if_error = "{int(o["stale_if_error"])}s"')
        if policy:
            rules.append(('errors', '/', policy))
        for name, prefix, lines in rules:
            text += '\n'.join(['', '[[site.rule]]', f'name = "{name}"', f'prefix = {quoted(prefix)}', 'verdict = "cache"', *lines, ''])
        return text

    async def reload(self):
        self.configure()
        self.proc.send_signal(signal.SIGHUP)

    async def metrics(self):
        r = await self.http('GET', '/metrics', addr=self.control)
        return r.body.decode()

    async def purge(self, host, target, scheme='http', tls=False):
        scheme = 'https' if tls else scheme
        return await self._purge({'kind': 'url', 'url': f'{scheme}://{host}{target}'})

    async def purge_prefix(self, host, prefix):
        return await self._purge({'kind': 'prefix', 'url': f'http://{host}{prefix}'})

    async def purge_tag(self, tag, host=None):
        return await self._purge({'kind': 'tag', 'tag': tag, 'site': 'all'})

    async def purge_all(self, host=None):
        return await self._purge({'kind': 'site', 'site': 'all'})

    async def _purge(self, what):
        import lib
        body = json.dumps({**what, 'reason': 'field test'}).encode()
        async with lib.H1(self.control, 'localhost') as c:
            r = await c.get('/v1/purges', [('Content-Type', 'application/json'), ('Authorization', f'Bearer {self.token}')],
                            method='POST', body=body)
        return r.status in (200, 201)
