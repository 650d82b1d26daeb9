"""What the origin has: bodies that are a pure function of path and version, so that every byte of an answer can be judged."""
import functools
import hashlib
import math
import random
from dataclasses import dataclass

# Two tenants with the same packages: the same bytes where their versions are the same.
HOSTS = ('a.example', 'b.example')
SMALLEST, LARGEST = 1 << 10, 3 << 20
FRESH = 'public, max-age=86400'


@functools.lru_cache(maxsize=256)
def body(path, version):
    return hashlib.shake_128(f'{path} {version}'.encode()).digest(length(path))


@functools.lru_cache(maxsize=None)
def length(path):
    """Between the smallest and the largest, each order of size as often as another; the same in all versions."""
    return int(math.exp(random.Random(path).uniform(math.log(SMALLEST), math.log(LARGEST))))


def etag(path, version):
    """Paths below /bare/ have no validator."""
    return None if path.startswith('/bare/') else f'"{hashlib.sha1(f"{path} {version}".encode()).hexdigest()[:16]}"'


def path_of(number):
    """The `number`-th path: a fifth is bare, a fifth of the others comes without a length."""
    folder = 'bare' if number % 5 == 4 else 'chunked' if number % 5 == 3 else 'plain'
    return f'/{folder}/{number}'


@dataclass(frozen=True)
class Thing:
    """What a learner asks for: a path of a host, the whole of it or a range (first and last byte)."""

    host: str
    path: str
    span: tuple | None = None

    @property
    def url(self):
        return f'http://{self.host}{self.path}'

    def __str__(self):
        return self.url + (f' bytes {self.span[0]}-{self.span[1]}' if self.span else '')


def wrong(thing, status, fields, data, versions):
    """What is wrong with an answer, or nothing. `versions`: the lowest and the highest that it may be of."""
    told = fields.get('x-version', '')
    if status != (206 if thing.span else 200):
        return f'status {status}'
    if not told.isdigit() or not versions[0] <= int(told) <= versions[1]:
        return f'version {told or "unknown"}, not of {versions[0]} to {versions[1]}'
    version = int(told)
    true = body(thing.path, version)
    first, last = thing.span or (0, len(true) - 1)
    # While it grows, the length of what comes chunked is not known.
    lengths = (len(true), '*') if thing.path.startswith('/chunked/') else (len(true),)
    if thing.span and fields.get('content-range') not in [f'bytes {first}-{last}/{n}' for n in lengths]:
        return f'Content-Range {fields.get("content-range")} for {first}-{last} of {len(true)}'
    if fields.get('etag') != etag(thing.path, version):
        return f'ETag {fields.get("etag")} with version {version}'
    expected = true[first:last + 1]
    if data != expected:
        return f'{len(data)} bytes of {len(expected)}, of version {version}; {difference(thing.path, data, expected)}'
    return None


def difference(path, data, expected):
    """Where bytes differ first, and what stands there instead, as far as it can be told."""
    at = next((i for i, (a, b) in enumerate(zip(data, expected)) if a != b), min(len(data), len(expected)))
    found = data[at:at + 32]
    if at == len(data) or at == len(expected):
        kind = 'the end' if at == len(data) else 'more'
    elif not found.strip(b'\0'):
        kind = 'zeros'
    else:
        others = [v for v in range(1, 100) if found in body(path, v)]
        kind = f'bytes of version {others[0]}' if others else 'foreign bytes'
    return f'from {at} on {kind}'
