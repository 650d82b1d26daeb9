"""Tests of the failing medium by itself: it sees each call, refuses what it is told to, and loses what was not synced.

Each story runs as a program of its own below the library; it calls libc by name, as a program linked to it does.
"""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from medium import EXIT_CUT, Medium, build

NEEDED = set("""write pwrite pwrite64 writev pwritev pwritev64 pwritev2 fsync fdatasync sync_file_range rename renameat renameat2
unlink unlinkat ftruncate ftruncate64 open open64 openat openat64 creat fallocate close""".split())

# What a story may use. `c(name, …)` calls libc and gives the result, or raises OSError.
PRELUDE = '''
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def c(name, *arguments):
    call = getattr(libc, name)
    call.restype = ctypes.c_long if name not in ('open', 'open64', 'openat', 'openat64', 'creat', 'creat64') else ctypes.c_int
    passed = [a.encode() if isinstance(a, str) else ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    done = call(*passed)
    if name.startswith('posix_') and done & 0xffffffff:
        raise OSError(done & 0xffffffff, os.strerror(done & 0xffffffff))
    if done in (-1, 0xffffffff):
        raise OSError(ctypes.get_errno(), name)
    return done
def parts(*pieces):
    class Part(ctypes.Structure):
        _fields_ = [('base', ctypes.c_char_p), ('length', ctypes.c_size_t)]
    return (Part * len(pieces))(*[Part(p, len(p)) for p in pieces])
def room(n):
    buffer = ctypes.create_string_buffer(n)
    class Part(ctypes.Structure):
        _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
    return (Part * 1)(Part(ctypes.addressof(buffer), n))
def tells(name, *arguments):
    try:
        return c(name, *arguments)
    except OSError as error:
        return os.strerror(error.errno)
def synced(path):
    fd = c('open', path, os.O_RDONLY)
    c('fsync', fd)
    c('close', fd)
def wait():
    print('ready', flush=True)
    sys.stdin.readline()
RW, NEW = os.O_RDWR, os.O_RDWR | os.O_CREAT
'''


class Story(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix='lectern-faults-')
        self.addCleanup(self.scratch.cleanup)
        self.folder = Path(self.scratch.name) / 'medium'
        self.said = Path(self.scratch.name) / 'said'
        self.begin()

    def begin(self, lose=False):
        self.medium = Medium(LIBRARY, self.folder, Path(self.scratch.name) / 'control', lose)

    def start(self, story):
        with self.said.open('w') as said:
            return subprocess.Popen([sys.executable, '-c', PRELUDE + story], cwd=self.folder, env=self.medium.environment,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True)

    def ready(self, process):
        """Waits until the story waits."""
        self.assertEqual(process.stdout.readline(), 'ready\n', self.said.read_text())

    def run_story(self, story, order='none'):
        with self.start(f'wait()\n{story}') as process:
            self.ready(process)
            self.medium.obeyed(order)
            said, _ = process.communicate('\n', timeout=30)
        self.assertEqual(process.returncode, 0, self.said.read_text())
        return said.strip().splitlines()

    def cut(self, process, order):
        self.medium.order(order)
        self.assertEqual(process.wait(timeout=30), EXIT_CUT, self.said.read_text())
        self.assertEqual(self.medium.state()['cut'], 1)
        self.assertEqual(self.medium.state()['unrestored'], 0)

    def run_to_the_cut(self, story, order):
        self.begin(lose=True)
        with self.start(f'{story}\nwait()') as process:
            self.ready(process)
            self.cut(process, order)

    def read(self, name):
        return (self.folder / name).read_bytes()

    def names(self):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob('*'))


class Seen(Story):
    def test_each_call_is_seen(self):
        self.run_story('''
fd = c('open', 'a', NEW, 0o600); c('close', fd)
for name in ('open64',): c('close', c(name, 'a', RW, 0))
for name in ('openat', 'openat64'): c('close', c(name, -100, 'a', RW, 0))
for name in ('creat', 'creat64'): c('close', c(name, name, 0o600))
fd = c('open', 'a', RW, 0)
c('write', fd, b'0123', 4)
for name in ('pwrite', 'pwrite64'): assert c(name, fd, b'4567', 4, 4) == 4
assert c('writev', fd, parts(b'45', b'67'), 2) == 4
for name in ('pwritev', 'pwritev64'): assert c(name, fd, parts(b'8', b'9'), 2, 8) == 2
for name in ('pwritev2', 'pwritev64v2'): assert c(name, fd, parts(b'a', b'b'), 2, 10, 0) == 2
assert os.pread(fd, 100, 0) == b'0123456789ab', os.pread(fd, 100, 0)
buffer = ctypes.create_string_buffer(16)
c('lseek', fd, 0, 0)
assert c('read', fd, buffer, 16) == 12
for name in ('pread', 'pread64'): assert c(name, fd, buffer, 16, 4) == 8
c('lseek', fd, 0, 0)
assert c('readv', fd, room(16), 1) == 12
for name in ('preadv', 'preadv64'): assert c(name, fd, room(16), 1, 4) == 8
for name in ('preadv2', 'preadv64v2'): assert c(name, fd, room(16), 1, 4, 0) == 8
for name in ('fsync', 'fdatasync'): c(name, fd)
c('sync_file_range', fd, 0, 4, 0)
for name in ('ftruncate', 'ftruncate64'): c(name, fd, 6)
for name in ('truncate', 'truncate64'): c(name, 'a', 5)
for name in ('fallocate', 'fallocate64'): c(name, fd, 0, 0, 4096)
for name in ('posix_fallocate', 'posix_fallocate64'): c(name, fd, 0, 8192)
assert os.fstat(fd).st_size == 8192
c('rename', 'a', 'b'); c('renameat', -100, 'b', -100, 'c'); c('renameat2', -100, 'c', -100, 'd', 1)
c('link', 'd', 'e'); c('linkat', -100, 'd', -100, 'f', 0); c('unlink', 'e'); c('unlinkat', -100, 'f', 0)
AT_REMOVEDIR = 0x200
c('mkdir', 'x', 0o700); c('mkdirat', -100, 'y', 0o700); c('rmdir', 'x'); c('unlinkat', -100, 'y', AT_REMOVEDIR)
other = c('open', 'd', os.O_RDONLY, 0)
for name in ('copy_file_range',): tells(name, other, 0, fd, 0, 4, 0)
for name in ('sendfile', 'sendfile64'): tells(name, fd, other, 0, 4)
tells('splice', other, 0, fd, 0, 4, 0)
libc.mmap.restype = ctypes.c_void_p
assert libc.mmap(None, ctypes.c_size_t(4096), 3, 1, fd, ctypes.c_long(0)) not in (None, 2**64 - 1)
''')
        self.assertEqual([name for name, (seen, _) in self.medium.calls().items() if not seen], [])
        self.assertLessEqual(NEEDED, set(self.medium.calls()))
        self.assertEqual(self.medium.state()['unseen'], 0)

    def test_a_rename_past_libc_is_noticed(self):
        self.run_story('''
c('close', c('open', 'a', NEW, 0o600))
SYS_renameat2 = {'x86_64': 316, 'aarch64': 276}[os.uname().machine]
c('syscall', SYS_renameat2, -100, 'a', -100, 'b', 0)
c('close', c('open', 'b', os.O_RDONLY, 0))
''')
        self.assertEqual(self.medium.state()['unseen'], 1)

    def test_an_order_is_in_force_from_the_start(self):
        self.medium.order('fail EIO on=open')
        with self.start("print(tells('open', 'a', NEW, 0o600))") as process:
            self.assertEqual(process.stdout.readline(), 'Input/output error\n')

    def test_a_descriptor_that_was_doubled_is_the_same_file(self):
        self.run_story('''
fd = c('open', 'a', NEW, 0o600)
import fcntl
for other in (c('dup', fd), c('dup2', fd, 100), c('dup3', fd, 101, 0), c('fcntl', fd, fcntl.F_DUPFD_CLOEXEC, 0)):
    c('write', other, b'x', 1)
c('close', fd)
''')
        self.assertEqual(self.medium.calls()['write'][0], 4)

    def test_what_lies_elsewhere_is_not_seen(self):
        outside = Path(self.scratch.name) / 'medium-too'
        self.run_story(f'''
fd = c('open', '{outside}', NEW, 0o600); c('write', fd, b'x', 1); c('fsync', fd); c('close', fd)
c('rename', '{outside}', '{outside}.new')
''')
        self.assertEqual({n: s for n, (s, _) in self.medium.calls().items() if s}, {})


class Refused(Story):
    STORY = '''
fd = c('open', 'a', NEW, 0o600)
print(tells('write', fd, b'0123456789', 10), tells('pwrite', fd, b'x', 1, 50), tells('fsync', fd), tells('ftruncate', fd, 4))
buffer = ctypes.create_string_buffer(16)
print(tells('pread', fd, buffer, 16, 0), tells('open', 'new', NEW, 0o600) in range(100), tells('rename', 'a', 'b'))
'''

    def test_each_group_by_itself(self):
        right = ['10 1 0 0', '4 True 0']
        for order, said in (
            ('none', right),
            ('fail EIO on=write', ['Input/output error ' * 2 + '0 Input/output error', '0 True 0']),
            ('fail EIO on=sync', ['10 1 Input/output error 0', right[1]]),
            ('fail EIO on=read', [right[0], 'Input/output error True 0']),
            ('fail EROFS on=name', [right[0], '4 True Read-only file system']),
            ('fail ENOSPC on=write', ['No space left on device No space left on device 0 0', right[1]]),
            ('fail EIO on=write,sync path=/b', right),
            ('fail EIO on=write,sync path=/a times=1', ['Input/output error 1 0 0', right[1]]),
            ('fail ENOSPC on=write after=4', ['4 No space left on device 0 0', right[1]]),
            ('fail SHORT on=write', ['5 1 0 0', right[1]]),
        ):
            with self.subTest(order):
                self.assertEqual(self.run_story(self.STORY, order), said)
                self.begin()
                for name in ('a', 'b', 'new'):
                    (self.folder / name).unlink(missing_ok=True)

    def test_a_full_medium_opens_what_is_there_and_makes_nothing(self):
        (self.folder / 'there').write_bytes(b'x')
        story = "print(tells('open', 'there', RW, 0) in range(100), tells('open', 'new', NEW, 0o600))"
        self.assertEqual(self.run_story(story, 'fail ENOSPC on=open'), ['True No space left on device'])

    def test_what_hangs_returns_with_the_next_order(self):
        for order, call in (('hang on=read path=/a', 'pread'), ('hang on=sync', 'fsync'), ('hang on=write', 'write')):
            with self.subTest(order), self.start(f'wait()\n{self.STORY}') as process:
                self.ready(process)
                self.medium.obeyed(order)
                process.stdin.write('\n')
                process.stdin.flush()
                self.medium.until(lambda calls: calls[call][1] == 1)
                self.assertIsNone(process.poll())
                self.medium.obeyed('none')
                said, _ = process.communicate(timeout=30)
                self.assertEqual(said.splitlines(), ['10 1 0 0', '4 True 0'])
                self.assertEqual(self.medium.calls()[call][1], 1)
            self.begin()
            for name in ('b', 'new'):
                (self.folder / name).unlink(missing_ok=True)

    def test_refusals_are_counted(self):
        self.run_story(self.STORY, 'fail EIO on=write,read')
        self.assertEqual({n: r for n, (_, r) in self.medium.calls().items() if r}, {'write': 1, 'pwrite': 1, 'ftruncate': 1, 'pread': 1})


class Lost(Story):
    def test_bytes_and_lengths_that_were_not_synced(self):
        (self.folder / 'old').write_bytes(b'o' * 10000)
        self.run_to_the_cut('''
fd = c('open', 'old', RW, 0)
c('pwrite', fd, b'synced', 6, 5000); c('fdatasync', fd)
c('pwrite', fd, b'lost', 4, 5000); c('pwritev', fd, parts(b'lo', b'st'), 2, 9998)
''', 'cut seed=1 keep=none')
        expected = bytearray(b'o' * 10000)
        expected[5000:5006] = b'synced'
        self.assertEqual(self.read('old'), bytes(expected))

    def test_truncations(self):
        for name in ('short', 'emptied', 'path'):
            (self.folder / name).write_bytes(b'o' * 9000)
        self.run_to_the_cut('''
fd = c('open', 'short', RW, 0)
c('ftruncate', fd, 100); c('pwrite', fd, b'x' * 5000, 5000, 100); c('ftruncate', fd, 200)
c('open', 'emptied', RW | os.O_TRUNC, 0)
c('truncate', 'path', 20000)
assert os.stat('emptied').st_size == 0
''', 'cut seed=1 keep=none')
        for name in ('short', 'emptied', 'path'):
            self.assertEqual(self.read(name), b'o' * 9000, name)

    def test_what_is_written_while_a_sync_runs_is_not_synced_by_it(self):
        self.run_to_the_cut('''
import threading
fd = c('open', 'a', NEW, 0o600); synced('.')
def write():
    for n in range(1 << 60): c('pwrite', fd, n.to_bytes(8, 'little'), 8, 0)
def written(): return int.from_bytes(os.pread(fd, 8, 0), 'little')
threading.Thread(target=write, daemon=True).start()
for _ in range(50): c('fsync', fd)
last = written()
while written() < last + 100: pass
open(os.environ['LECTERN_FAULTS_CONTROL'] + '.last', 'w').write(str(last))
''', 'cut seed=1 keep=none')
        self.assertLessEqual(int.from_bytes(self.read('a')[:8], 'little'), int(Path(f'{self.medium.control}.last').read_text()))

    def test_a_failed_sync_loses_what_a_later_one_does_not_save(self):
        self.begin(lose=True)
        with self.start('''
fd = c('open', 'a', NEW, 0o600); synced('.')
c('write', fd, b'a' * 4096, 4096); c('fsync', fd)
wait()
c('pwrite', fd, b'lost', 4, 0)
assert tells('fsync', fd) == 'Input/output error'
c('pwrite', fd, b'b' * 4096, 4096, 4096); c('fsync', fd)
wait()
''') as process:
            self.ready(process)
            self.medium.obeyed('fail EIO on=sync times=1')
            print(file=process.stdin, flush=True)
            self.ready(process)
            self.cut(process, 'cut seed=1')
        self.assertEqual(self.read('a'), b'a' * 4096 + b'b' * 4096)

    def test_names(self):
        (self.folder / 'kept').write_bytes(b'kept')
        (self.folder / 'target').write_bytes(b'target')
        (self.folder / 'gone').write_bytes(b'gone')
        self.run_to_the_cut('''
c('mkdir', 'durable', 0o700); c('close', c('open', 'durable/in', NEW, 0o600)); synced('durable'); synced('.')
c('mkdir', 'lost', 0o700); c('close', c('open', 'lost/in', NEW, 0o600)); synced('lost')
c('close', c('open', 'durable/late', NEW, 0o600))
c('unlink', 'gone'); c('rename', 'kept', 'moved'); c('rename', 'moved', 'target')
fd = c('open', 'new', NEW, 0o600); c('write', fd, b'x', 1); c('fsync', fd)
c('unlink', 'durable/late'); c('unlink', 'durable/in'); c('rmdir', 'durable')
''', 'cut seed=1 keep=none')
        self.assertEqual(self.names(), ['durable', 'durable/in', 'gone', 'kept', 'target'])
        self.assertEqual([self.read(n) for n in ('kept', 'target', 'gone')], [b'kept', b'target', b'gone'])

    def test_a_folder_that_was_moved_keeps_what_was_synced_in_it(self):
        self.run_to_the_cut('''
c('mkdir', 'd.new', 0o700); fd = c('open', 'd.new/in', NEW, 0o600); c('write', fd, b'x', 1); c('fsync', fd); synced('d.new')
c('rename', 'd.new', 'd'); synced('.')
c('close', c('open', 'd/late', NEW, 0o600))
''', 'cut seed=1 keep=none')
        self.assertEqual(self.names(), ['d', 'd/in'])
        self.assertEqual(self.read('d/in'), b'x')

    def test_what_survives_is_drawn_and_never_what_was_not_written(self):
        """Each page is as it was synced or as it was written, and both happen; lengths and bytes may disagree."""
        whole, kinds = 16 * 4096, set()
        for seed in range(1, 25):
            self.run_to_the_cut('''
fd = c('open', 'a', NEW | os.O_TRUNC, 0o600); synced('.')
c('write', fd, b'a' * 8 * 4096, 8 * 4096); c('fsync', fd)
for page in range(4, 16): c('pwrite', fd, bytes([97 + page]) * 4096, 4096, page * 4096)
''', f'cut seed={seed}')
            found = self.read('a')
            self.assertGreaterEqual(len(found), 8 * 4096)
            self.assertLessEqual(len(found), whole)
            for at in range(0, len(found), 512):
                page, sector = at // 4096, found[at:at + 512]
                old, new = b'a' if page < 8 else b'\0', bytes([97 + page]) if page >= 4 else b'a'
                self.assertIn(sector, [old * len(sector), new * len(sector)])
            new = sum(found[p * 4096:p * 4096 + 1] == bytes([97 + p]) for p in range(4, len(found) // 4096))
            kinds.add('all' if new == 12 else 'some' if new else 'none')
            if b'\0' in found:
                kinds.add('zeros')
            if len(found) % 4096:
                kinds.add('torn')
        self.assertEqual(kinds, {'all', 'some', 'none', 'zeros', 'torn'})

    def test_a_cut_comes_before_the_call_it_names(self):
        self.begin(lose=True)
        with self.start('''
fd = c('open', 'a', NEW, 0o600); synced('.')
wait()
for n in range(100):
    c('write', fd, bytes([n]) * 4096, 4096); c('fsync', fd)
''') as process:
            self.ready(process)
            before = self.medium.state()['steps']
            self.medium.obeyed('cut seed=3 calls=7 keep=none')
            print(file=process.stdin, flush=True)
            self.assertEqual(process.wait(timeout=30), EXIT_CUT)
        self.assertEqual(self.medium.state()['steps'] - before, 7)
        self.assertEqual(self.read('a'), b''.join(bytes([n]) * 4096 for n in range(3)))


if __name__ == '__main__':
    LIBRARY = build(os.environ.get('FAULTS', tempfile.gettempdir()))
    unittest.main()
