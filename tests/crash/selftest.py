"""Tests of the judgement: every way in which an answer can be wrong is found, and a right one is not."""
import unittest

from content import Thing, body, etag, length, path_of, wrong
from learners import Expected, Learner
from origin import Origin

WHOLE = Thing('a.example', path_of(5))
PART = Thing('a.example', path_of(5), (1000, 1999))


def answer(thing, version, **other):
    """Status, fields and body of the right answer, with what is to be wrong of it."""
    first, last = thing.span or (0, length(thing.path) - 1)
    fields = {'x-version': str(version), 'etag': etag(thing.path, version)}
    if thing.span:
        fields['content-range'] = f'bytes {first}-{last}/{length(thing.path)}'
    fields.update(other.get('fields', {}))
    return other.get('status', 206 if thing.span else 200), fields, other.get('data', body(thing.path, version)[first:last + 1])


class Judgement(unittest.TestCase):
    def judge(self, thing, version, **other):
        return wrong(thing, *answer(thing, version, **other), (2, 3))

    def test_right_is_right(self):
        for thing in (WHOLE, PART):
            for version in (2, 3):
                self.assertIsNone(self.judge(thing, version))

    def test_what_is_wrong_is_told(self):
        true, old = body(WHOLE.path, 2), body(WHOLE.path, 1)
        for said, thing, version, other in (
            ('version 1', WHOLE, 1, {}),
            ('version 4', PART, 4, {}),
            ('version unknown', WHOLE, 2, {'fields': {'x-version': ''}}),
            ('status 503', WHOLE, 2, {'status': 503}),
            ('status 200', PART, 2, {'status': 200}),
            ('Content-Range', PART, 2, {'fields': {'content-range': 'bytes 0-999/2000'}}),
            ('ETag', WHOLE, 2, {'fields': {'etag': etag(WHOLE.path, 3)}}),
            ('from 4096 on bytes of version 1', WHOLE, 2, {'data': true[:4096] + old[4096:]}),
            ('from 512 on zeros', WHOLE, 2, {'data': true[:512] + bytes(len(true) - 512)}),
            ('from 512 on the end', WHOLE, 2, {'data': true[:512]}),
            ('from 0 on foreign bytes', WHOLE, 2, {'data': body(path_of(6), 2)[:len(true)]}),
            ('on more', WHOLE, 2, {'data': true + b'x'}),
        ):
            with self.subTest(said):
                self.assertIn(said, self.judge(thing, version, **other) or 'nothing')

    def test_the_origin_is_always_right(self):
        origin, expected = Origin(), Expected()
        learner = Learner(origin, origin, expected)
        things = [Thing('b.example', path_of(n), span) for n in range(10) for span in (None, (0, 0), (7, 900))]
        for version in (1, 2):
            for thing in things:
                self.assertEqual(learner.judged(thing), version, expected.wrongs)
            if version == 1:
                for thing in things[::3]:
                    origin.change(thing.host, thing.path)
        learner.close()
        self.assertEqual(origin.times_asked('b.example', path_of(0)), 6)

    def test_what_was_published_anew_is_not_owed(self):
        origin, expected = Origin(), Expected()
        expected.came(WHOLE, 1, origin)
        self.assertIn(WHOLE, expected.had)
        origin.change(WHOLE.host, WHOLE.path)
        expected.came(PART, 1, origin)
        expected.published(WHOLE.host, WHOLE.path)
        self.assertEqual(expected.had, {})
        expected.acknowledged(7, {(WHOLE.host, WHOLE.path): 2})
        self.assertEqual((expected.at_least(WHOLE), expected.number), (2, 7))


if __name__ == '__main__':
    unittest.main()
