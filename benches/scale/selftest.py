"""Tests of the judgement, without a server."""
import sys
import unittest
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / 'http'))

import content
import judge
from measure import Reclaiming, p99


def found(start=900, killed=1000, rss=60, flood=((1, 1.5),), reclaim=((1, 1.1),)):
    row = {'stored': 200_000, 'start_ms': start, 'killed_ms': killed, 'index_bytes': 350, 'rss_mib': rss, 'disk_mib': 400}
    return {'starts': [row], 'flood': flood, 'reclaim': reclaim}


class Judgement(unittest.TestCase):
    def words(self, **figures):
        return [(v.word, v.is_far) for v in judge.judged(found(**figures))]

    def test_every_figure_is_judged(self):
        fine = ('met', False)
        self.assertEqual(self.words(), [fine] * 5)
        for at, bad in enumerate((dict(start=2001), dict(killed=2001), dict(rss=97), dict(flood=((1, 2.1),)), dict(reclaim=((1, 2.1),)))):
            self.assertEqual(self.words(**bad), [('missed', False) if i == at else fine for i in range(5)])

    def test_only_what_is_missed_by_far_fails(self):
        self.assertEqual(self.words(start=4000)[0], ('missed', False))
        self.assertEqual(self.words(start=4001)[0], ('missed', True))

    def test_a_ratio_is_taken_within_a_pair(self):
        self.assertEqual(judge.ratio(((1, 2), (10, 10), (20, 30))), 1.5)

    def test_what_was_over_too_soon_is_not_judged(self):
        self.assertEqual(self.words(reclaim=())[4], ('not measured', False))
        self.assertIn('| reclaim | not measured |', judge.table(found(reclaim=()), judge.judged(found(reclaim=())), 'How.'))

    def test_the_table_shows_what_was_found(self):
        text = judge.table(found(flood=((1, 2.5),)), judge.judged(found(flood=((1, 2.5),))), 'How.')
        self.assertIn('| 200,000 | 900 | 1,000 | 350 | 60 | 400 |', text)
        self.assertIn('| a flood of absent URLs | 1.00 | 2.50 | 2.50 [2.50–2.50] |', text)
        self.assertIn('**missed**', text)


class Measures(unittest.TestCase):
    def test_the_99th_percentile_of_a_hundred_is_the_last(self):
        self.assertEqual((p99(range(100)), p99(range(1000)), p99([7])), (99, 990, 7))

    def test_only_what_was_asked_while_chunks_went_counts(self):
        reclaiming, asked = Reclaiming(None), [(at, at + 1) for at in range(200)]
        self.assertEqual(reclaiming.during(asked), [], 'none went')
        reclaiming.last_at = 119.5
        self.assertEqual(reclaiming.during(asked), list(range(1, 121)))
        reclaiming.last_at = 50
        self.assertEqual(reclaiming.during(asked), [], 'too few')

    def test_pages_of_a_site_have_its_host_and_bodies_of_their_own(self):
        pages = range(7, 20_000, content.SITES)
        self.assertEqual({content.host(number) for number in pages}, {'tenant-7.lms.example'})
        self.assertEqual(len({content.body(number) for number in pages}), len(pages))
        self.assertEqual([len(content.body(number)) for number in (0, 59, 60, 80, 92, 12_359)], [200, 200, 2048, 8192, 32768, 323])


if __name__ == '__main__':
    unittest.main()
