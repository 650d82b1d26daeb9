"""A medium that fails, from the side that gives the orders; what it does stands in faults.c."""
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_name('faults.c')
CONTROL_BYTES, TEXT_BYTES = 8192, 448
HEAD = struct.Struct('<4I7Q')
CALL = struct.Struct('<24s2Q')
EXIT_CUT = 86


def build(folder):
    """Compiles the library if it is not there as its source says."""
    library = Path(folder) / 'libfaults.so'
    library.parent.mkdir(parents=True, exist_ok=True)
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        subprocess.run(['cc', '-std=gnu11', '-O2', '-Wall', '-Wextra', '-shared', '-fPIC', '-pthread',
                        '-U_FORTIFY_SOURCE', '-o', library, SOURCE], check=True)
    return library


class Medium:
    """What stands below `folder`. `control` is the file that both sides map; the library is told of it by `environment`."""

    def __init__(self, library, folder, control, lose=False):
        self.library, self.folder, self.control, self.lose = library, Path(folder), Path(control), lose
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(f'{self.folder}.spare', ignore_errors=True)
        self.control.write_bytes(bytes(CONTROL_BYTES))
        self.orders = 0

    @property
    def environment(self):
        mine = {'LD_PRELOAD': str(Path(self.library).resolve()), 'LECTERN_FAULTS_UNDER': str(self.folder),
                'LECTERN_FAULTS_CONTROL': str(self.control)}
        return {**os.environ, **mine, **({'LECTERN_FAULTS_LOSE': '1'} if self.lose else {})}

    def write(self, at, data):
        with open(self.control, 'r+b') as control:
            control.seek(at)
            control.write(data)

    def order(self, text):
        """Gives an order and does not wait."""
        self.orders += 1
        self.write(HEAD.size, text.encode().ljust(TEXT_BYTES, b'\0'))
        self.write(0, struct.pack('<I', self.orders))

    def obeyed(self, text, within=5):
        """Gives an order; it is in force when this returns."""
        self.order(text)
        end = time.monotonic() + within
        while self.state()['heard'] != self.orders:
            if time.monotonic() > end:
                raise TimeoutError(f'nobody obeys {text!r}')
            time.sleep(0.001)

    def state(self):
        names = ('told', 'heard', 'cut', 'lose', 'steps', 'pages_lost', 'pages_kept', 'names_lost', 'names_kept',
                 'unrestored', 'unseen')
        return dict(zip(names, HEAD.unpack(self.control.read_bytes()[:HEAD.size])))

    def calls(self):
        """{call: (how often it was seen, how often refused)}"""
        table = self.control.read_bytes()[HEAD.size + TEXT_BYTES:]
        rows = (CALL.unpack_from(table, at) for at in range(0, len(table) - CALL.size + 1, CALL.size))
        return {name.rstrip(b'\0').decode(): (seen, refused) for name, seen, refused in rows if name.strip(b'\0')}

    def until(self, holds, within=5):
        """Waits until `holds` of the calls."""
        end = time.monotonic() + within
        while not holds(self.calls()):
            if time.monotonic() > end:
                raise TimeoutError(self.calls())
            time.sleep(0.001)
