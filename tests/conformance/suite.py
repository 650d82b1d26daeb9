"""The suite: brought from the package registry, or copied from a checkout. It lies below the build folder and is never committed."""
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = 'http-cache-tests@0.4.5'
SHA512 = ('0e3bb037d9d46572d35bec1abf52d1112099355c65f12b21c0ecb8cf5a71b966'
          'd6b79fdacbab0cf5043595e6c16833ba3f520c0682ba99d7fe3ee54ffd034bf0')


class Suite:
    """A state of the suite in a folder, beside the modules that it needs."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        current = folder / 'test-engine'
        self.server = (current if current.is_dir() else folder) / 'server' / 'server.mjs'

    @classmethod
    def of(cls, work, checkout):
        """`checkout`: its folder, or nothing for the state in the registry."""
        work.mkdir(parents=True, exist_ok=True)
        modules(work)
        if not checkout:
            return cls(package(work), 'npm')
        source = Path(checkout).resolve()
        if not (source / 'test-engine').is_dir():
            raise SystemExit(f'conformance: {checkout} is no checkout of the suite: it has no test-engine/')
        folder = work / 'current'
        shutil.rmtree(folder, ignore_errors=True)
        # Its modules are looked for in the folders above.
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns('.git', 'node_modules'))
        return cls(folder, 'current')

    def environment(self, port, scratch):
        return {**os.environ, 'npm_config_protocol': 'http', 'npm_config_port': str(port),
                'npm_config_pidfile': str(scratch / 'suite.pid')}


def modules(work):
    """What the suite's client imports, as the lock file beside this one names it."""
    lock = (HERE / 'package-lock.json').read_bytes()
    done = work / 'package-lock.json'
    if done.exists() and done.read_bytes() == lock and (work / 'node_modules').is_dir():
        return
    done.unlink(missing_ok=True)
    shutil.copy(HERE / 'package.json', work)
    shutil.copy(HERE / 'package-lock.json', work / 'lock')
    os.replace(work / 'lock', done)
    npm(work, 'ci', '--ignore-scripts', '--no-audit', '--no-fund')


def package(work):
    folder = work / 'npm' / 'package'
    if (folder / 'whole').exists():
        return folder
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.parent.mkdir()
    npm(folder.parent, 'pack', '--silent', PACKAGE)
    [archive] = folder.parent.glob('*.tgz')
    if hashlib.sha512(archive.read_bytes()).hexdigest() != SHA512:
        raise SystemExit(f'conformance: what came as {PACKAGE} is not what this test knows by that name')
    subprocess.run(['tar', 'xzf', archive.name], cwd=folder.parent, check=True)
    (folder / 'whole').touch()
    return folder


def npm(folder, *arguments):
    for left in (2, 1, 0):
        came = subprocess.run(['npm', *arguments], cwd=folder, capture_output=True, text=True)
        if came.returncode == 0:
            return
        if not left:
            raise SystemExit(f'conformance: npm {arguments[0]} failed:\n{came.stderr[-2000:]}')
