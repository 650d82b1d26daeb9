"""A real Kolibri with a course, and the little of its API that the test needs."""
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import urllib.request
from pathlib import Path

ADMIN = ('admin', 'Admin.123')  # of provision.json beside start_kolibri.sh


class Kolibri:
    """Kolibri on two ports: its pages and API, and the members of packages."""

    def __init__(self, recipe, scratch, cache, ports, packages_url):
        self.ports = ports
        work, kept = scratch / 'kolibri', cache / 'course'
        if kept.is_dir():  # making the film anew would take half a minute
            shutil.copytree(kept, work / 'course')
        run = subprocess.run(
            ['bash', str(recipe), str(work), *map(str, ports), packages_url],
            env={**os.environ, 'KOLIBRI_VENV': str(cache / 'kolibri-0.19.5')},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=420)
        self.pid = int(m[1]) if (m := re.search(r'^PID (\d+)$', run.stdout, re.M)) else None
        if run.returncode or self.pid is None:
            raise RuntimeError(f'Kolibri did not start:\n{run.stdout}')
        self.nodes = dict(re.findall(r'^STORAGE \S+\.(\w+) node (\w+)$', run.stdout, re.M))
        self.channel = re.search(r'^CHANNEL (\w+)', run.stdout, re.M)[1]
        if not kept.is_dir():
            shutil.copytree(work / 'course', f'{kept}.{os.getpid()}')
            os.rename(f'{kept}.{os.getpid()}', kept)

    def stop(self):
        """Ends it at once: nothing of this instance is kept. It leads a process group of its own."""
        if self.pid:
            os.killpg(self.pid, signal.SIGKILL)


def recipe():
    """The script that starts Kolibri, or None where the facts are not beside the project."""
    path = Path(os.environ.get('SHARED', '../shared')) / 'lms-facts/kolibri/start_kolibri.sh'
    return path.resolve() if path.is_file() else None


class Session:
    """A learner's session by API, through the edge, with a cookie jar of its own."""

    def __init__(self, host, port, authority):
        self.host, self.port = host, port
        self.tls = ssl.create_default_context(cafile=authority)
        self.cookies, self.user = {}, None

    def call(self, method, path, body=None, fields=()):
        """(status, fields, body) of one request on a connection of its own."""
        connection = http.client.HTTPSConnection('127.0.0.1', self.port, timeout=30)
        connection.sock = self.tls.wrap_socket(
            http.client.socket.create_connection(('127.0.0.1', self.port), 30), server_hostname=self.host)
        head = {'Host': f'{self.host}:{self.port}', 'Cookie': '; '.join(f'{k}={v}' for k, v in self.cookies.items())}
        if body is not None:
            head['Content-Type'] = 'application/json'
        if csrf := self.cookies.get('kolibri_csrftoken'):
            head['X-CSRFToken'] = csrf
        head.update(fields)
        connection.request(method, path, json.dumps(body) if body is not None else None, head)
        answer = connection.getresponse()
        data = answer.read()
        for cookie in answer.headers.get_all('Set-Cookie') or []:
            name, _, value = cookie.split(';')[0].strip().partition('=')
            self.cookies[name] = value
        connection.close()
        return answer.status, answer.headers, data

    def current(self):
        """Who Kolibri says this cookie is."""
        status, _, data = self.call('PUT', '/api/auth/session/current/', {'active': True})
        return json.loads(data) if status == 200 else {}

    def sign_in(self, name, password):
        self.current()  # sets the CSRF cookie
        facility = json.loads(self.call('GET', '/api/public/v1/facility/')[2])[0]['id']
        status, _, data = self.call(
            'POST', '/api/auth/session/', {'username': name, 'password': password, 'facility': facility})
        if status != 200:
            raise RuntimeError(f'{name} cannot sign in: {status} {data[:200]!r}')
        self.user = json.loads(data)
        return facility

    def add_learner(self, facility, name, password):
        status, _, data = self.call('POST', '/api/auth/facilityuser/', {
            'username': name, 'full_name': name.title(), 'password': password, 'facility': facility})
        if status != 201:
            raise RuntimeError(f'{name} cannot be added: {status} {data[:300]!r}')
        return json.loads(data)['id']


def fetch_plain(url):
    """Body of a plain request straight to the origin."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()
