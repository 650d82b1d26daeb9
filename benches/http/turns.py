"""The order of runs: servers take turns, forwards and then backwards, so that what else the machine does falls on all of them alike."""
import shutil
import sys
from dataclasses import dataclass, field

from process import Refused


@dataclass
class Cell:
    """The runs of one case on one server, or why there are none to report."""

    case: object
    peer: type
    runs: list = field(default_factory=list)
    refused: str = ''
    ready_on: object = None

    @property
    def name(self):
        return self.peer.name

    def server(self, running):
        """The server, made ready for the case; again if it had to be started again."""
        server = running.server(self.peer, self.case.setup)
        if server is not self.ready_on:
            self.case.ready(server)
            self.ready_on = server
        return server

    def attempt(self, act, tell, tries=2):
        """Does it, once again if it is refused; then the cell is refused, whatever went well before."""
        while not self.refused:
            try:
                return act()
            except (Refused, OSError) as why:
                tell(f'{self.case.name}, {self.name}: thrown away: {why}')
                tries -= 1
                if not tries:
                    self.refused, self.runs = str(why), []


class Running:
    """The servers that are up. One is started when it is first asked for."""

    def __init__(self, folder, certificate, origin):
        self.folder, self.certificate, self.origin = folder, certificate, origin
        self.up = {}
        self.started = 0

    def server(self, peer, setup):
        found = self.up.get((peer, setup))
        if found and found.runs:
            return found
        self.stop(peer, setup)
        self.started += 1
        folder = self.folder / f'{peer.name.replace(" ", "-")}-{self.started}'
        self.up[peer, setup] = peer(folder, setup, self.certificate, self.origin)
        return self.up[peer, setup]

    def stop(self, peer, setup):
        if server := self.up.pop((peer, setup), None):
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)

    def stop_all_but(self, setup=None):
        for key in list(self.up):
            if key[1] != setup:
                self.stop(*key)


def play(block, peers, running, rounds, seconds, tell=lambda line: print(line, file=sys.stderr, flush=True)):
    """The cells of a block, after all its rounds."""
    cells = [Cell(case, peer) for case in block for peer in peers if peer.name in case.peers]
    for cell in cells:
        cell.attempt(lambda: cell.server(running), tell)
        if seconds > 1 and cell.case.warms:  # what is paid once (first connections, page faults) is not measured
            cell.attempt(lambda: cell.case.run(cell.server(running), 1), tell)
    for number in range(min(rounds, *(case.most_rounds for case in block))):
        for cell in cells if number % 2 == 0 else reversed(cells):
            cell.attempt(lambda: cell.runs.append(cell.case.run(cell.server(running), seconds)), tell)
    return cells
