"""Kills the edge at random instants under fill load, starts it on the same folders, and judges what it serves then.

A round: load is put on the edge, then it is ended: by `kill -9`, or (every fourth round of a life, from its first) by a medium
that loses what was not synced (../faults). It is started on what that left, and everything that learners had lately is asked
for again, with a sample of the rest. Some starts are killed too. After ten rounds a life ends, and the next one begins with
empty folders.

What must hold after a crash:
- no torn, mixed or foreign byte, no wrong length, status or validator is served;
- an acknowledged purge holds, and the ledger has its number;
- what had come whole longer than the flush interval and a margin before the end is still a hit: its origin is not asked;
- no chunk that comes up from disk is damaged: what is committed was on the medium before;
- it answers soon.

Environment: LECTERN the binary; ROUNDS; SEED to run one again (the draws are the
same, the timing is the machine's).
"""
import argparse
import collections
import http.client
import os
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'faults'))
from content import path_of  # noqa: E402
from learners import Expected, Learner, Load  # noqa: E402
from medium import EXIT_CUT, Medium, build  # noqa: E402
from node import Node  # noqa: E402
from origin import Origin  # noqa: E402

ROUNDS_OF_A_LIFE, LOSING_ROUND = 10, 4
NEW_PATHS = 12              # in each round
FLUSH_INTERVAL, MARGIN = 1.0, 1.0
SOON = 5.0                  # a loaded machine; the report tells the longest
CHECKED = 150               # things from before the last round that are asked for again


class Life:
    """One set of folders through several crashes."""

    def __init__(self, folder, library, draw, folders):
        self.folder, self.draw = folder, draw
        self.origin, self.expected = Origin(), Expected()
        self.node = Node(folder, self.origin, folders)
        self.library, self.medium = library, None
        self.paths = 0
        self.owed_until = None   # what came before is owed as a hit

    def begin(self, lose):
        """Starts it, and sometimes kills the start; gives how often. `lose`: on a medium that can."""
        kills = self.draw.choice((0, 0, 0, 1, 2))
        for _ in range(kills):
            if self.draw.random() < 0.5:
                self.node.start()
                time.sleep(self.draw.uniform(0, 0.3))
            else:
                medium = self.new_medium()
                medium.order(f'cut seed={self.draw.randrange(1, 1 << 60)} calls={self.draw.randrange(1, 60)}')
                self.node.start(medium.environment)
                self.node.ends(0.7)
            self.node.kill()
        self.medium = self.new_medium() if lose else None
        self.node.start(self.medium.environment if lose else None)
        self.node.ready()
        return kills

    def new_medium(self):
        return Medium(self.library, self.node.data, self.folder / 'control', lose=True)

    def check(self):
        """Asks again for what learners had. Gives how many were asked for, how many had to be hits, and when the first
        answer came."""
        had = dict(self.expected.had)
        owed = {t for t, (_, at) in had.items() if self.owed_until and at < self.owed_until}
        young = [t for t in had if t not in owed]
        asked = young + self.draw.sample(sorted(owed, key=str), min(len(owed), CHECKED))
        self.draw.shuffle(asked)
        groups = collections.defaultdict(list)
        for thing in sorted(asked, key=lambda thing: thing not in owed):  # the others may bring what is owed
            groups[thing.host, thing.path].append(thing)
        first = self.first_answer(sorted(owed, key=str))
        before = dict(self.origin.asked)
        learners = [Learner(self.node, self.origin, self.expected) for _ in range(4)]
        with ThreadPoolExecutor(len(learners)) as pool:
            shares = [list(groups.values())[n::len(learners)] for n in range(len(learners))]
            for done in [pool.submit(self.check_some, learner, share, owed) for learner, share in zip(learners, shares)]:
                done.result()
        self.expected.came_back(young, {path for (host, path), n in self.origin.asked.items() if n != before.get((host, path), 0)})
        return len(asked), sum(t in owed for t in asked), first

    def first_answer(self, owed):
        if owed:
            learner = Learner(self.node, self.origin, self.expected)
            learner.judged(self.draw.choice(owed))
            learner.close()
        return time.monotonic() - self.node.begun

    def check_some(self, learner, groups, owed):
        for things in groups:
            for thing in things:
                before = self.origin.times_asked(thing.host, thing.path)
                try:
                    version = learner.judged(thing)
                except (OSError, http.client.HTTPException) as error:
                    self.expected.is_wrong(f'{thing}: {error!r} after the start')
                    continue
                asked = self.origin.times_asked(thing.host, thing.path) - before
                if thing in owed and version and asked:
                    self.expected.is_wrong(f'{thing}: had to be a hit, the origin was asked {asked} times')
        learner.close()

    def judge_the_node(self):
        number = self.node.metric('lectern_ledger_number')
        if number < self.expected.number:
            self.expected.is_wrong(f'the ledger ends at {number:.0f}, purge {self.expected.number} was acknowledged')
        for name, label in (('lectern_disk_verify_failures_total', ''), ('lectern_disk_reads_total', 'result="bad"'),
                            ('lectern_disk_reads_total', 'result="error"'), ('lectern_disk_not_kept_total', '')):
            if count := self.node.metric(name, label):
                self.expected.is_wrong(f'{name} {label} is {count:.0f}')

    def load_and_end(self, seed):
        """Load, then the end. Gives how long it was under load, the load, and how it ended."""
        self.paths += NEW_PATHS
        load = Load(self.node, self.origin, self.expected, seed, self.paths, NEW_PATHS)
        # Long enough in new folders that something is owed of them.
        span = self.draw.uniform(0.05, 2.5) + (0 if self.owed_until else 2.5)
        time.sleep(span)
        load.may_break()
        self.owed_until = time.monotonic() - FLUSH_INTERVAL - MARGIN
        if status := self.node.process.poll():
            self.expected.is_wrong(f'it ended by itself with {status}: {self.node.tail()}')
        if self.medium:
            how = self.cut(self.draw.randrange(1, 1 << 60), self.draw.choice((0, 1, self.draw.randrange(1, 60))))
        else:
            self.node.kill()
            how = 'kill -9'
        load.join()
        return span, load, how

    def cut(self, seed, calls):
        """Has the medium cut at once or at the n-th call; at once after all where so many do not come."""
        self.medium.order(f'cut seed={seed}' + (f' calls={calls}' if calls else ''))
        if not self.node.ends(1.5):
            self.medium.order(f'cut seed={seed}')
        status = self.node.process.wait(20)
        state = self.medium.state()
        if status != EXIT_CUT or state['unrestored'] or state['unseen']:
            self.expected.is_wrong(f'the medium is at fault: ended with {status}, {state}')
        return (f'cut, {state["pages_lost"]} of {state["pages_lost"] + state["pages_kept"]} pages and '
                f'{state["names_lost"]} of {state["names_lost"] + state["names_kept"]} names lost')


class Run:
    def __init__(self, rounds, seed, scratch):
        self.rounds, self.seed, self.scratch = rounds, seed, scratch
        self.library = build(scratch)
        self.longest, self.seen, self.totals = 0.0, collections.Counter(), collections.Counter()

    def run(self):
        life = None
        for number in range(self.rounds):
            draw = random.Random(f'{self.seed} {number}')
            try:
                if number % ROUNDS_OF_A_LIFE == 0:
                    life = self.next_life(number // ROUNDS_OF_A_LIFE, life, draw)
                life.draw = draw
                self.round(number, life)
            except Exception as error:  # whatever it was: say of which round, and end
                life.expected.is_wrong(f'{type(error).__name__}: {error}; {life.node.state()}')
            for line in life.node.panics():
                life.expected.is_wrong(line)
            if life.expected.wrongs:
                life.node.kill()
                return self.failed(number, life)
        life.node.kill()
        return self.ended()

    def next_life(self, number, before, draw):
        if before:
            before.node.kill()
            shutil.rmtree(before.folder, ignore_errors=True)
        life = Life(self.scratch / f'life{number}', self.library, draw, 1 + number % 2)
        life.begin(lose=True)
        return life

    def round(self, number, life):
        asked, purges = sum(life.origin.asked.values()), life.expected.purges
        span, load, how = life.load_and_end(f'{self.seed} {number}')
        fills, purges = sum(life.origin.asked.values()) - asked, life.expected.purges - purges
        if life.medium:
            self.seen.update({name: seen for name, (seen, _) in life.medium.calls().items()})
        kills = life.begin(lose=(number + 1) % ROUNDS_OF_A_LIFE % LOSING_ROUND == 0)
        checked, owed, first = life.check()
        life.judge_the_node()
        self.longest = max(self.longest, first)
        if first > SOON:
            life.expected.is_wrong(f'the first answer came after {first:.1f} s')
        self.totals.update(checked=checked, owed=owed, requests=load.asked, fills=fills, purges=purges)
        print(f'round {number:3}  {span:.2f} s of load: {load.asked} requests, {fills} at the origin, {purges} purges; {how}; '
              f'{f"after {kills} killed starts " if kills else ""}back in {first:.2f} s, {checked} checked, {owed} owed as hits',
              flush=True)

    def failed(self, number, life):
        for what in life.expected.wrongs[:20]:
            print(f'crash: round {number}: {what}')
        print(f'crash: {len(life.expected.wrongs)} wrong in round {number} with SEED={self.seed}; folder and log: {life.folder}')
        return 1

    def ended(self):
        unseen = [n for n in ('write', 'rename', 'open64', 'unlink', 'ftruncate64') if not self.seen[n]]
        syncs = self.seen['fsync'] + self.seen['fdatasync']
        if (unseen or not syncs or self.seen['mmap']):
            print(f'crash: the medium did not see {unseen or "a sync, or saw a shared mapping"}: {dict(+self.seen)}')
            return 1
        t = self.totals
        print(f'crash: {self.rounds} rounds held: {t["checked"]} checked, {t["owed"]} owed as hits, {t["requests"]} requests under '
              f'load, {t["fills"]} at the origin, {t["purges"]} purges; longest to the first answer {self.longest:.2f} s; '
              f'SEED={self.seed}')
        return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=int(os.environ.get('ROUNDS') or 200))
    parser.add_argument('--seed', type=int, default=int(os.environ.get('SEED') or random.randrange(1 << 32)))
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix='lectern-crash-'))
    print(f'crash: {arguments.rounds} rounds, SEED={arguments.seed}', flush=True)
    status = Run(arguments.rounds, arguments.seed, scratch).run()
    if status == 0:
        shutil.rmtree(scratch, ignore_errors=True)
    return status


if __name__ == '__main__':
    sys.exit(main())
