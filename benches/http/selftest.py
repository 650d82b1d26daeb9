"""Tests of the judgement, without a server: what is refused, who is better, whether a target is met, what the report shows."""
import unittest

import disk
import load
import report
import run
from blocks import all_cases
from cases import CPU, Case, ColdFills, Hits, IdleConnections
from cases_on_disk import DiskHits, check_reads, leap_among
from origin import CHUNK, OWN_FIRST, SIZES, own
from peers import PEERS, Haproxy, Lectern, Nginx, NginxCopying
from process import Refused, Setup
from targets import TARGETS, targets_of, verdicts
from turns import Cell, play


def cell(case, peer, *costs, refused=''):
    key = case.ranks
    return Cell(case, peer, [{**{f.key: 1.0 for f in case.figures}, key: cost} for cost in costs], refused)


def words(case, *cells):
    return [v.word for v in verdicts(case, report.columns_of(cells))]


class Targets(unittest.TestCase):
    def test_every_target_has_a_case_and_a_peer(self):
        cases = [case for block in all_cases(run.FULL.idle, run.FULL.stored, run.FULL.disk_mib) for case in block]
        judged = [target for case in cases for target in targets_of(case)]
        self.assertEqual(sorted(map(str, judged)), sorted(map(str, TARGETS)))
        self.assertLessEqual({t.against for t in TARGETS}, {p.name for p in PEERS} | {''})
        for case in cases:
            self.assertLessEqual(set(case.peers), {p.name for p in PEERS})

    def test_a_ratio_is_taken_within_a_round(self):
        case = Hits('HTTPS', '1 KB')
        # Everything became slower in the second and third round: the medians alone say 30 of 20.
        verdict, = verdicts(case, report.columns_of([cell(case, Lectern, 7, 30, 70), cell(case, Nginx, 10, 20, 100)]))
        self.assertEqual((verdict.value, verdict.low, verdict.high), (0.7, 0.7, 1.5))
        self.assertEqual(verdict.word, 'met')

    def test_just_reached_is_met_and_just_above_is_missed(self):
        case = Hits('HTTPS', '32 KB')
        self.assertEqual(words(case, cell(case, Lectern, 50), cell(case, Nginx, 100)), ['met'])
        self.assertEqual(words(case, cell(case, Lectern, 50.1), cell(case, Nginx, 100)), ['missed'])

    def test_an_aim_is_told_apart(self):
        case = ColdFills()
        self.assertEqual(words(case, cell(case, Lectern, 4), cell(case, Nginx, 10)), ['aim met'])
        self.assertEqual(words(case, cell(case, Lectern, 5), cell(case, Nginx, 10)), ['met'])

    def test_idle_connections_are_judged_by_themselves(self):
        for count in (1_000, 10_000):
            case = IdleConnections(count)
            self.assertEqual(words(case, cell(case, Lectern, 33), cell(case, Nginx, 99)), ['missed'])
            self.assertEqual(words(case, cell(case, Lectern, 24)), ['aim met'])

    def test_two_peers_two_verdicts(self):
        case = Hits('HTTP/2', '1 KB')
        self.assertEqual(words(case, cell(case, Lectern, 8), cell(case, Nginx, 17), cell(case, Haproxy, 7)), ['met', 'missed'])

    def test_of_two_settings_the_better_counts(self):
        case = Hits('HTTPS', '1 MB')
        ours = cell(case, Lectern, 70)
        for pair in ((120, 90), (90, 120)):
            settings = [cell(case, kind, cost) for kind, cost in zip((Nginx, NginxCopying), pair)]
            self.assertEqual(words(case, ours, *settings), ['missed'])
        self.assertEqual(words(case, ours, cell(case, Nginx, refused='no'), cell(case, NginxCopying, 100)), ['met'])

    def test_nothing_is_judged_without_figures(self):
        case = Hits('HTTPS', '1 KB')
        self.assertEqual(words(case, cell(case, Lectern, 1), cell(case, Nginx, refused='no')), ['not measured'])
        self.assertEqual(words(case, cell(case, Lectern, refused='no'), cell(case, Nginx, 1)), ['not measured'])
        self.assertEqual(words(case, cell(case, Lectern, 1)), ['not measured'])

    def test_growth_has_no_targets(self):
        self.assertEqual(targets_of(Hits('HTTP/1.1', '1 KB', Setup(), ', 1 core', 'growth')), [])


class Report(unittest.TestCase):
    def test_a_refused_cell_shows_its_reason_and_no_figure(self):
        case = Hits('HTTPS', '1 KB')
        cells = [cell(case, Lectern, 12.34, 12.36), cell(case, Nginx, refused='3 answers of 400')]
        text = report.text(cells, 'How.')
        self.assertIn('| HTTPS 1 KB | 12.3 ±0% · 1.00 · 1 · 1.0 | refused |', text)
        self.assertIn('- HTTPS 1 KB, nginx: 3 answers of 400', text)
        self.assertIn('Targets: 1 not measured.', text)
        self.assertEqual([e.get('refused') for e in report.entries(cells)], [None, '3 answers of 400'])

    def test_rows_are_as_wide_as_their_head(self):
        cases = [Hits('HTTP/1.1', '1 KB'), Hits('HTTP/2', '64 MB')]
        cells = [cell(cases[0], Lectern, 1), cell(cases[0], Haproxy, 1), cell(cases[1], Lectern, 1)]
        lines = [line for line in report.table('hits', cells).splitlines() if line.startswith('|')]
        self.assertEqual(len(lines), 4)
        self.assertEqual({line.count('|') for line in lines}, {5})

    def test_the_spread_is_half_the_way_between_the_ends(self):
        self.assertAlmostEqual(report.spread(cell(Hits('HTTPS', '1 KB'), Lectern, 90, 100, 120)), 0.15)


class Generators(unittest.TestCase):
    def test_wrk_with_right_answers_only(self):
        load.check_wrk(1000, 1000 * 1324, 0, 0, 1024, 300, 64)
        load.check_wrk(1000, 1040 * 1324, 0, 0, 1024, 300, 64)  # 64 connections were cut amid an answer

    def test_wrk_with_anything_else(self):
        for why, requests, read, bad, failed in (('a status', 1000, 1000 * 1324, 1, 0), ('a socket', 1000, 1000 * 1324, 0, 1),
                                                 ('short bodies', 1000, 1000 * 1200, 0, 0), ('long bodies', 1000, 1000 * 1500, 0, 0),
                                                 ('nothing', 0, 0, 0, 0)):
            with self.subTest(why), self.assertRaises(Refused):
                load.check_wrk(requests, read, bad, failed, 1024, 300, 64)

    SAID = '''finished in 1.00s, 100.50 req/s, 1.00MB/s
requests: 100 total, 100 started, 100 done, {done} succeeded, 0 failed, {errored} errored, 0 timeout
status codes: {done} 2xx, {redirects} 3xx, 0 4xx, 0 5xx
traffic: 110.00KB (112640) total, 4.00KB (4096) headers (space savings 50.00%), 100.00KB ({data}) data
'''

    def test_h2load_with_right_answers_only(self):
        self.assertEqual(load.check_h2load(self.SAID.format(done=100, errored=0, redirects=0, data=102400), 100, 1024), 100.5)

    def test_h2load_with_anything_else(self):
        for wrong in (dict(done=99), dict(errored=1), dict(redirects=1), dict(data=102399), dict(data='none')):
            with self.subTest(wrong), self.assertRaises(Refused):
                load.check_h2load(self.SAID.format(**{**dict(done=100, errored=0, redirects=0, data=102400), **wrong}), 100, 1024)


class Disk(unittest.TestCase):
    def test_no_two_chunks_of_own_bodies_are_alike(self):
        bodies = [own(file, number) for file in ('f32k', 'f1m', 'f64m') for number in (OWN_FIRST, OWN_FIRST + 1)]
        self.assertEqual([len(body) for body in bodies[::2]], [SIZES[file] for file in ('f32k', 'f1m', 'f64m')])
        for pair in zip(bodies[::2], bodies[1::2]):
            chunks = [body[at:at + CHUNK] for body in pair for at in range(0, len(body), CHUNK)]
            self.assertEqual(len(set(chunks)), len(chunks))

    def test_where_the_bytes_came_from_decides(self):
        for read, from_disk, cold, why in ((1.0, 0.0, False, None), (0.95, 1.2, True, None), (0.7, 0.0, False, 'in memory'),
                                           (1.0, 0.5, True, 'in the page cache'), (1.0, 0.2, False, 'not all in the page cache')):
            with self.subTest(why or 'right', cold=cold):
                if why:
                    self.assertRaisesRegex(Refused, why, check_reads, read, from_disk, cold)
                else:
                    check_reads(read, from_disk, cold)

    def test_a_walk_in_leaps_comes_to_every_number(self):
        for count in (4, 8, 16, 1024):
            leap = leap_among(count)
            self.assertEqual({n * leap % count for n in range(count)}, set(range(count)))

    def test_every_block_on_a_disk_has_a_power_of_two_of_bodies(self):
        for plan in (run.FULL, run.QUICK, run.SMOKE):
            for case in (case for block in all_cases(1, (), plan.disk_mib) for case in block if isinstance(case, DiskHits)):
                self.assertEqual(len(case.bodies.numbers).bit_count(), 1)

    def test_a_folder_in_memory_is_no_disk(self):
        mounts = ('22 1 0:1 / / rw shared:1 - ext4 /dev/a rw\n23 22 0:2 / /tmp rw - tmpfs none rw\n'
                  '24 23 0:3 / /tmp/my\\040disk rw master:1 - xfs /dev/b rw\n')
        for folder, kind in (('/var/tmp', 'ext4'), ('/tmp/a', 'tmpfs'), ('/tmpfoo', 'ext4'), ('/tmp/my disk/a', 'xfs')):
            self.assertEqual(disk.kind_of(folder, mounts), kind, folder)


class Row(Case):
    """A case that notes what is done, and fails where it is told to."""

    figures, warms = (CPU,), False

    def __init__(self, fails=()):
        self.done, self.fails = [], list(fails)

    def ready(self, server):
        self.done.append(('ready', server.peer))

    def run(self, server, seconds):
        self.done.append((server.peer, seconds))
        if self.done.count((server.peer, seconds)) in self.fails:
            raise Refused('told to')
        return {CPU.key: 1.0}


class Up:
    """Servers that do not run."""

    def __init__(self):
        self.up, self.folder = {}, None

    def server(self, peer, setup):
        return self.up.setdefault(peer, type('Server', (), {'peer': peer.name, 'runs': True})())


class Turns(unittest.TestCase):
    def test_servers_take_turns_there_and_back(self):
        row = Row()
        play([row], [Lectern, Nginx], Up(), rounds=3, seconds=1)
        self.assertEqual([who for who, what in row.done if who != 'ready'], ['lectern', 'nginx', 'nginx', 'lectern', 'lectern', 'nginx'])

    def test_one_refusal_is_tried_again_and_two_refuse_the_cell(self):
        for fails, runs, refused in (((2,), 3, ''), ((2, 3), 0, 'told to')):
            found, = play([Row(fails)], [Lectern], Up(), rounds=3, seconds=1, tell=lambda line: None)
            self.assertEqual((len(found.runs), found.refused), (runs, refused))

    def test_a_server_started_again_is_made_ready_again(self):
        row, up = Row(), Up()
        found, = play([row], [Lectern], up, rounds=1, seconds=1)
        up.up.clear()
        found.server(up)
        self.assertEqual(row.done.count(('ready', 'lectern')), 2)


class Choice(unittest.TestCase):
    def test_cases_are_named_by_part_or_group(self):
        def named(*wanted):
            return [case.name for block in run.chosen_blocks(run.FULL, wanted) for case in block]
        self.assertEqual(named('https 32 kb')[0], 'HTTPS 32 KB')
        self.assertEqual(named('fills'), ['cold fill 32 KB', 'cold fill 32 KB to disk'])
        self.assertEqual(named('no such'), [])

    def test_quick_leaves_out_no_target(self):
        cases = [case for block in run.chosen_blocks(run.QUICK, ()) for case in block]
        self.assertEqual(sum(len(targets_of(case)) for case in cases), len(TARGETS))

    def test_smoke_has_a_case_of_every_kind(self):
        def kinds(blocks):
            return {(type(case), case.group) for block in blocks for case in block}
        self.assertEqual(kinds(run.chosen_blocks(run.SMOKE, ())), kinds(all_cases(100, (500, 5_000), 64)))


if __name__ == '__main__':
    unittest.main()
