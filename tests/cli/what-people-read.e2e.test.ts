import { beforeAll, expect, test } from 'vitest'
import { asText } from '../../streams/describe.ts'
import { DEFAULTS, DOMAINS, topology } from '../../streams/topology.ts'
import { plumblineOk, sharedFolder } from './plumbline.ts'

/** Goldens: look at the difference before you accept it with this command. */
const UPDATE_GOLDENS = 'npm run goldens'

let cwd = ''
beforeAll(async () => {
  cwd = await sharedFolder()
  // No scenes: a run over an empty log makes every table and view.
  await plumblineOk(['run', '--until-idle'], { cwd })
})

const WIDE = `select 1 as n, -0.15 as share, 1e-7::double as tiny, 123456789012::bigint as "count", true as ok,
  null::varchar as nothing, 'zwei Zeilen
und ein	Tabulator' as text, 'naïve 🧱 塔' as unicode, [1, 2] as list, {'x': 1.5, 'y': null} as struct,
  repeat('long ', 40) as long, timestamptz '2026-01-01 00:00:00+00' as at
  union all select 22, 19.90605, 12.5, -1, false, 'x', '', '', [], {'x': 0.25, 'y': 'a'}, 'short',
  timestamptz '2026-01-01 00:00:00.25+00'`

test.concurrent.for([
  ['help', ['--help']],
  ['help-broker-start', ['broker', 'start', '--help']],
  ['help-feed', ['feed', '--help']],
  ['help-feed-token', ['feed', 'token', '--help']],
  ['help-demo', ['demo', '--help']],
  ['help-generate-tower', ['generate', 'tower', '--help']],
  ['help-ledger', ['ledger', '--help']],
  ['help-models-add', ['models', 'add', '--help']],
  ['help-run', ['run', '--help']],
  ['help-sql', ['sql', '--help']],
  ['help-verify', ['verify', '--help']],
  ['topology', ['topology']],
  ['topology-recorded', ['topology', '--policy', 'recorded(answers.jsonl)']],
  ['topology-mermaid', ['topology', '--mermaid']],
  ['events', ['events']],
  ['event', ['events', 'tower.completions_scored']],
  ['sql-wide-table', ['sql', WIDE]],
  ['sql-wide-csv', ['sql', WIDE, '--format', 'csv']],
  ['sql-wide-json', ['sql', WIDE, '--format', 'json']],
  [
    'sql-cut-table',
    ['sql', "select range as n, repeat('ab', 9) as text from range(7)", '--limit', '3', '--width', '8'],
  ],
  ['sql-describe-rewards', ['sql', 'describe rewards']],
  ['sql-funnel', ['sql', 'select * from funnel', '--width', '80']],
] as const)('%s', async ([name, args], { expect }) => {
  const text = await plumblineOk(args, { cwd })
  // CSV ends its lines in \r\n, as RFC 4180 says.
  for (const line of text.split(/\r?\n/)) expect(line, 'a line ends in spaces').toBe(line.trimEnd())
  const stale = `goldens/${name}.golden.txt is stale; if the new text is right: ${UPDATE_GOLDENS}`
  await expect(text, stale).toMatchFileSnapshot(`goldens/${name}.golden.txt`)
})

test.concurrent.each([
  [['topology', '--json'], { partitions: 4, fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/) }],
  [['events', '--json'], expect.arrayContaining([expect.objectContaining({ type: 'tower.completions_scored' })])],
  [['events', 'tower.completions_scored', '--json'], expect.objectContaining({ $schema: expect.any(String) })],
  [['sql', 'select 1 as one', '--json'], [{ one: 1 }]],
] as const)('%j is JSON', async (args, expected) => {
  const parsed = JSON.parse(await plumblineOk(args, { cwd }))
  if (Array.isArray(parsed)) expect(parsed).toEqual(expected)
  else expect(parsed).toMatchObject(expected)
})

test.each(DOMAINS)(
  'the topology of $name, with what it builds on, fits on a screen',
  async ({ name, builds_on = [] }) => {
    const domains = DOMAINS.filter((domain) => [name, ...builds_on].includes(domain.name))
    const lines = asText(await topology(DEFAULTS, domains)).split('\n')
    expect(lines.length).toBeLessThanOrEqual(40)
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100)
  },
)
