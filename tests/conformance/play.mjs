// Plays the cases of a suite against a cache and writes what came of each: play.mjs SUITE BASE OUT [ID …].
//
// The suite's own client does the work, in either state of it that is known here: the one of the package registry (its modules
// beside the package's root, `fetch` handed in) and the current one (`test-engine/`).
import fs from 'node:fs'
import path from 'node:path'

const [suite, base, out, ...ids] = process.argv.slice(2)
const here = name => path.join(suite, name)
const current = fs.existsSync(here('test-engine'))
const { runTests, getResults } = await import(here(current ? 'test-engine/client/runner.mjs' : 'client/runner.mjs'))

const groups = [...(await import(here('tests/index.mjs'))).default]
if (!current) groups.push((await import(here('tests/surrogate-control.mjs'))).default)
for (const group of groups) {
  group.tests = group.tests.filter(test => !test.browser_only && (ids.length === 0 || ids.includes(test.id)))
}

if (current) await runTests(groups, false, base)
else await runTests(groups, (await import('node-fetch')).default, false, base, 25)

const results = getResults()
const cases = groups.flatMap(group => group.tests.map(test => ({
  id: test.id,
  group: group.id,
  kind: test.kind ?? 'required',
  name: test.name,
  passed: results[test.id] === true,
  // What the suite says of a failure; `Setup` where it did not come to what is tested.
  why: results[test.id] === true ? '' : [results[test.id]].flat().join(': ')
})))
fs.writeFileSync(out, JSON.stringify(cases))
// Connections that are kept open would keep the process.
process.exit(0)
