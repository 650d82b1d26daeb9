"""The judgement, held to results that are made up."""
import unittest

import judge

TEXT = '''# Known
| `nowhere` | outside of a table's section |
## The one (npm)
| Case | Reason |
|---|---|
| `a` | Decided: so |
## The other (current)
| `b` | Wrong: so |
'''


def case(name, passed, kind='required', group='g'):
    return {'id': name, 'group': group, 'kind': kind, 'name': name, 'passed': passed, 'why': '' if passed else 'Assertion: x'}


class Judgement(unittest.TestCase):
    def test_each_state_has_its_own_list(self):
        self.assertEqual(judge.known(TEXT, 'npm'), {'a': 'Decided: so'})
        self.assertEqual(judge.known(TEXT, 'current'), {'b': 'Wrong: so'})

    def test_a_case_has_one_reason(self):
        for row in ('| `c` |  |', '| `a` | again |'):
            with self.assertRaises(SystemExit):
                judge.known(TEXT.replace('## The other', row + '\n## The other'), 'npm')

    def test_what_fails_is_listed_and_what_is_listed_fails(self):
        listed = {'a': 'so'}
        self.assertEqual(judge.differences([case('a', False), case('b', True)], listed), [])
        for cases, told in [
            ([case('a', False), case('b', False)], 'fails: b (required)'),
            ([case('a', False), case('b', False, 'optimal')], 'fails: b (optimal)'),
            ([case('a', True)], 'but passes: a'),
            ([case('b', True)], 'no such case is held: a'),
            ([case('a', False, 'check')], 'no such case is held: a'),
        ]:
            [line] = judge.differences(cases, listed)
            self.assertIn(told, line)

    def test_a_check_is_counted_and_not_held(self):
        self.assertEqual(judge.differences([case('c', False, 'check')], {}), [])

    def test_figures_by_kind_and_group(self):
        cases = [case('a', True), case('b', False, group='h'), case('c', True, 'optimal'), case('d', False, 'check')]
        summary = judge.summary(cases)
        self.assertEqual(summary['required'], {'passed': 1, 'total': 2})
        self.assertEqual(summary['optimal'], {'passed': 1, 'total': 1})
        self.assertEqual(summary['groups']['h']['required'], {'passed': 0, 'total': 1})
        self.assertIn('h', judge.table(summary))


if __name__ == '__main__':
    unittest.main()
