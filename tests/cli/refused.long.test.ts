import { closeSync, existsSync, openSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { plumbline, plumblineOk, sharedFolder, start } from './plumbline.ts'

/** A wrong command is reported with what, where, what was expected and what to do; a stack only with --debug. */

let cwd = ''
beforeAll(async () => {
  cwd = await sharedFolder()
  await plumblineOk(['run', '--until-idle'], { cwd })
  await writeFile(join(cwd, 'a-file'), '')
  for (const [name, content] of Object.entries(FORMAT_FILES)) {
    await mkdir(join(cwd, name))
    await writeFile(join(cwd, name, 'plumbline.json'), content)
  }
  const good = '{"group_id": "g", "completion_index": 0, "text": "<answer>1</answer>"}'
  const lines = {
    'not-json.jsonl': `${good}\n${good.replace('0', '1')}\n{"group_id": \n`,
    'no-text.jsonl': `${good}\n\n{"group_id": "g", "completion_index": 1}\n`,
    'wrong-type.jsonl': `{"group_id": "g", "completion_index": "one", "text": ""}\n`,
    'unknown-field.jsonl': `${good.replace('text', 'txet')}\n`,
  }
  for (const [name, content] of Object.entries(lines)) await writeFile(join(cwd, name), content)
})

const FORMAT_FILES = { newer: '{"format":99}', damaged: '{"format":', foreign: '{"name":"x"}', hollow: '' }
const TOWER = ['generate', 'tower', '--seed', '1', '--scenes', '1']
const SIDE = [...TOWER, '--dataset', 'side_block', '--task']
const NEWER =
  /newer.plumbline\.json: expected format 1 or older, got 99: a newer Plumbline wrote it\n {2}use that version, or another folder with --data\n$/
const DAMAGED = /plumbline\.json: expected \{"format":1\}, got .+\n.+ restore it, or name another folder with --data\n$/

interface Case {
  readonly type: readonly string[]
  readonly code: 1 | 2
  readonly says: RegExp
}

const CASES: readonly Case[] = [
  { type: ['frobnicate'], code: 2, says: /^plumbline: unknown command 'frobnicate'\n {2}see \.\/plumbline --help\n$/ },
  { type: ['verfiy'], code: 2, says: /unknown command 'verfiy' \(Did you mean verify\?\)/ },
  { type: ['generate', 'castle'], code: 2, says: /unknown command 'castle'\n {2}see \.\/plumbline generate --help/ },
  {
    type: ['generate', 'tower'],
    code: 2,
    says: /required option '--dataset <name>'.*\n {2}see \.\/plumbline generate tower --help/,
  },
  { type: ['run', '--frobnicate'], code: 2, says: /unknown option '--frobnicate'\n {2}see \.\/plumbline run --help/ },
  { type: ['run', '--polcy', 'oracle'], code: 2, says: /unknown option '--polcy' \(Did you mean --policy\?\)/ },
  { type: ['run', '--only'], code: 2, says: /'--only <name\.\.\.>' argument missing/ },
  {
    type: ['run', '--only', 'from-groups'],
    code: 2,
    says: /--only from-groups: no such processor or sink\n {2}there are sample-completions, score-completions, form-groups/,
  },
  {
    type: ['run', '--no-sink', '--only', 'duckdb'],
    code: 2,
    says: /--no-sink and --only duckdb: expected one of the two/,
  },
  { type: ['run', '--expire-pending'], code: 2, says: /add --until-idle/ },
  { type: ['run', '--dialect', 'papr'], code: 2, says: /--dialect papr: not known\n {2}expected one of paper, trl, / },
  {
    type: [...SIDE, 'z_only'],
    code: 2,
    says: /--task z_only: not known\n {2}expected one of binary_stability, x_only, x_y/,
  },
  {
    type: [...TOWER, '--task', 'x_y', '--dataset', 'top_block'],
    code: 2,
    says: /--task x_y is not a task of top_block\n {2}possible: .*--dataset side_block --task x_y/,
  },
  {
    type: [...SIDE, 'x_y', '--prompt', 'reasoning'],
    code: 2,
    says: /--prompt reasoning .*\n.*--dataset top_block --task x_only/,
  },
  ...['0', '1e3', ''].map((scenes): Case => {
    const says = /--scenes .*: expected a whole number from 1 to 100000000\n {2}e\.g\. --scenes 1/
    return { type: [...SIDE, 'x_y', '--scenes', scenes], code: 2, says }
  }),
  { type: [...SIDE, 'x_y', '--round', ''], code: 2, says: /--round : expected a whole number from 0/ },
  {
    type: [...SIDE, 'x_y', '--group-size', '0'],
    code: 2,
    says: /--group-size 0: expected a whole number from 1 to 1024/,
  },
  { type: ['run', '--policy', 'orakel'], code: 2, says: /expected oracle, noisy-oracle\(SIGMA\), .*got "orakel"/ },
  {
    type: ['run', '--policy', 'noisy-oracle'],
    code: 2,
    says: /got "noisy-oracle"; a policy with an argument looks like noisy-oracle\(150\)/,
  },
  {
    type: ['run', '--policy', 'noisy-oracle(-1)'],
    code: 2,
    says: /expected a standard deviation of at least 0 .*got \(-1\)/,
  },
  { type: ['run', '--policy', 'recorded()'], code: 2, says: /recorded\(\): expected recorded\(FILE\.jsonl\)/ },
  {
    type: ['run', '--policy', 'recorded(nowhere.jsonl)'],
    code: 2,
    says: /cannot read nowhere\.jsonl: there is no such file/,
  },
  {
    type: ['run', '--policy', 'recorded(not-json.jsonl)'],
    code: 2,
    says: /not-json\.jsonl:3: expected a JSON object, got \{"group_id": /,
  },
  { type: ['run', '--policy', 'recorded(no-text.jsonl)'], code: 2, says: /no-text\.jsonl:3: text: .*expected string/ },
  {
    type: ['run', '--policy', 'recorded(wrong-type.jsonl)'],
    code: 2,
    says: /wrong-type\.jsonl:1: completion_index: .*expected number/,
  },
  { type: ['run', '--policy', 'recorded(unknown-field.jsonl)'], code: 2, says: /unknown-field\.jsonl:1: .*tex/ },
  { type: ['run', '--log', 'pulsar://host'], code: 2, says: /--log pulsar:\/\/host: expected lmdb:DIR or kafka:\/\// },
  { type: ['run', '--log', 'lmdb:'], code: 2, says: /expected lmdb:DIR/ },
  { type: ['run', '--log', 'kafka:host'], code: 2, says: /kafka:host: expected kafka:\/\/HOST:PORT/ },
  { type: ['run', '--log', 'kafka://user:word@host:1'], code: 2, says: /belong in the environment/ },
  {
    type: ['--log', 'kafka://127.0.0.1:1', 'run'],
    code: 1,
    says: /kafka:\/\/127\.0\.0\.1:1: connecting failed after .* s of trying: Connection error: connect ECONNREFUSED 127\.0\.0\.1:1 .*Nothing listens there: start the broker/,
  },
  {
    type: ['--data', 'nowhere', 'verify'],
    code: 2,
    says: /nowhere holds no Plumbline data\n {2}run .*generate tower.* or name another folder with --data/,
  },
  { type: ['--data', 'nowhere', 'sql', 'select 1'], code: 2, says: /nowhere holds no Plumbline data/ },
  {
    type: ['--data', 'a-file', 'run'],
    code: 1,
    says: /a-file: something else already exists there \(EEXIST at mkdir\)\n {2}name another place, or move what is there/,
  },
  { type: ['--data', 'newer', 'run', '--until-idle'], code: 2, says: NEWER },
  { type: ['--data', 'newer', 'verify'], code: 2, says: NEWER },
  { type: ['--data', 'newer', 'sql', 'select 1'], code: 2, says: NEWER },
  { type: ['--data', 'newer', ...SIDE, 'x_y'], code: 2, says: NEWER },
  { type: ['--data', 'newer', '--shared', ...SIDE, 'x_y'], code: 2, says: NEWER },
  ...['damaged', 'foreign', 'hollow'].map(
    (folder): Case => ({ type: ['--data', folder, 'verify'], code: 2, says: DAMAGED }),
  ),
  {
    type: ['events', 'tower.nothing'],
    code: 2,
    says: /no event is called tower\.nothing\n {2}there are tower\.scene_presented, /,
  },
  { type: ['sql'], code: 2, says: /missing required argument 'statement'/ },
  { type: ['sql', 'select', '1'], code: 2, says: /put the statement in quotes: \.\/plumbline sql "select …"/ },
  {
    type: ['sql', 'select 1', '--format', 'xml'],
    code: 2,
    says: /--format xml: not known\n {2}expected one of table, json, csv, arrow/,
  },
  {
    type: ['--data', 'a-file', 'demo'],
    code: 1,
    says: /a-file\/demo: a file is where a folder should be \(ENOTDIR at lstat\)\n {2}name another place/,
  },
  {
    type: ['report', 'surfaces', '--out', 'a-file'],
    code: 1,
    says: /a-file: something else already exists there \(EEXIST at mkdir\)\n {2}name another place, or move what is there/,
  },
  {
    type: ['dlq', 'retry', '1', '--processor', 'form-groups'],
    code: 2,
    says: /dlq retry 1: --processor goes with --all\n {2}see \.\/plumbline dlq list/,
  },
  { type: ['sql', 'select 1', '--limit', '0'], code: 2, says: /--limit 0: expected a whole number from 1/ },
]

describe.concurrent('typed wrong', () => {
  test.each(CASES)('$type', async ({ type, code, says }) => {
    const ended = await plumbline(type, { cwd })
    expect(ended.stderr).toMatch(says)
    expect(ended.stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(2)
    expect(ended.stderr).not.toMatch(/^ +at /m)
    expect(ended).toMatchObject({ code, stdout: '' })
  })
})

const SQL: readonly Case[] = [
  { type: ['selec 1'], code: 1, says: /syntax error at or near "selec"/ },
  { type: ['select * from nothing'], code: 1, says: /Table with name nothing does not exist/ },
  { type: ['select rewrd from rewards'], code: 1, says: /"rewrd" not found .*\n.*"reward"/ },
  { type: [''], code: 1, says: /expected a statement, got nothing; plumbline sql runs one SELECT/ },
  { type: ['select ?'], code: 1, says: /write the values in/ },
  { type: ['select 1; select 2'], code: 1, says: /expected one statement, got 2; plumbline sql runs one SELECT/ },
  { type: ["copy rewards to 'stolen.csv'"], code: 1, says: /a statement of kind COPY is refused/ },
  {
    type: ["attach 'other.db'"],
    code: 1,
    says: /a statement of kind ATTACH is refused; plumbline sql runs one SELECT/,
  },
  { type: ["select * from read_csv('a-file')"], code: 1, says: /the function read_csv is refused: it reaches files/ },
  { type: ["select * from 'a-file.csv'"], code: 1, says: /out of reach/ },
  {
    type: ['insert into tower.completions_scored select * from tower.completions_scored'],
    code: 1,
    says: /INSERT is refused/,
  },
  { type: ['drop table tower.completions_scored'], code: 1, says: /DROP is refused/ },
  { type: ["set memory_limit = '1GB'"], code: 1, says: /refused/ },
  {
    type: [
      'select count(*) from range(100000000000) a, range(1000000) b where a.range * b.range = 7',
      '--timeout',
      '1',
    ],
    code: 1,
    says: /interrupted after 1 s; ask for less, or raise the limit/,
  },
]

describe.concurrent('wrong queries', () => {
  test.each(SQL)('sql $type', async ({ type, code, says }) => {
    const ended = await plumbline(['sql', ...type], { cwd })
    expect(ended.stderr).toMatch(says)
    expect(ended.stderr).not.toMatch(/^ +at |^plumbline: plumbline/m)
    expect(ended).toMatchObject({ code, stdout: '' })
    expect(existsSync(join(cwd, 'stolen.csv'))).toBe(false)
  })
})

test('a mistyped command creates no folder', async () => {
  for (const type of [
    ['run', '--policy', 'orakel'],
    ['run', '--policy', 'recorded(nowhere.jsonl)'],
    [...TOWER, '--task', 'x_y', '--dataset', 'top_block'],
    ['ingest', 'lerer', 'nowhere'],
  ]) {
    expect(await plumbline(['--data', 'never-made', ...type], { cwd })).toMatchObject({ code: 2 })
    expect(existsSync(join(cwd, 'never-made'))).toBe(false)
  }
})

test('a picture that cannot be written is reported after its table', async () => {
  const { code, stdout, stderr } = await plumbline(['report', 'funnel', '--svg', 'nowhere/funnel.svg'], { cwd })
  expect([code, stdout]).toEqual([1, expect.stringContaining('formed')])
  expect(stderr).toMatch(
    /^plumbline: nowhere\/funnel\.svg: there is no such file or folder \(ENOENT at open\)\n {2}look at the path.*\n$/,
  )
})

test('--debug adds the stack, at any position of the command line', async () => {
  for (const type of [
    ['--debug', 'events', 'x.y'],
    ['events', 'x.y', '--debug'],
    ['--debug', 'frobnicate'],
    ['--debug', 'sql', 'selec'],
  ]) {
    const { stderr } = await plumbline(type, { cwd })
    expect(stderr).toMatch(/^plumbline: .+/)
    expect(stderr).toMatch(/^ +at .+\.ts:\d+/m)
  }
})

test('--json makes an error a line of JSON, also one that commander found', async () => {
  for (const type of [
    ['--json', 'events', 'x.y'],
    ['--json', 'frobnicate'],
    ['sql', 'selec', '--json'],
  ]) {
    const { stdout, stderr } = await plumbline(type, { cwd })
    expect(stdout).toBe('')
    expect(JSON.parse(stderr)).toMatchObject({ error: expect.any(String), message: expect.any(String) })
  }
})

test('a reader of the output may stop early, as head does', async () => {
  const { child, ended } = start(['sql', "select repeat('x', 1000) as x from range(20000)", '--format', 'csv'], { cwd })
  child.stdout?.once('data', () => child.stdout?.destroy())
  expect(await ended).toMatchObject({ code: 0, stderr: '' })
})

test('a full disk under the output is reported without a stack', async () => {
  for (const type of [['sql', 'select * from range(100000)', '--format', 'csv'], ['events']]) {
    const full = openSync('/dev/full', 'w')
    try {
      const { code, stderr } = await start(type, { cwd, stdout: full }).ended
      expect(stderr).toBe(
        'plumbline: standard output: no space is left on the disk (ENOSPC at write)\n  free some and run it again\n',
      )
      expect(code).toBe(1)
    } finally {
      closeSync(full)
    }
  }
})

test('with standard error closed, the exit code still reports the failure', async () => {
  const { child, ended } = start(['--data', 'nowhere', 'verify'], { cwd })
  child.stderr?.destroy()
  expect(await ended).toMatchObject({ code: 2, signal: null })
})

test('for a processor without dead letters, those that have some are named', async () => {
  expect(await plumblineOk(['dlq', 'list', '--processor', 'from-groups'], { cwd })).toBe(
    'no dead letters of from-groups\n',
  )
})

test('an empty PLUMBLINE_DATA or PLUMBLINE_LOG counts as unset', async () => {
  const asked = await plumbline(['verify'], { cwd, env: { PLUMBLINE_DATA: '', PLUMBLINE_LOG: '' } })
  expect(asked, asked.stderr).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('nothing has been computed yet'),
  })
  const elsewhere = await plumbline(['verify'], { cwd, env: { PLUMBLINE_DATA: 'nowhere' } })
  expect(elsewhere).toMatchObject({ code: 2, stderr: expect.stringContaining('nowhere holds no Plumbline data') })
})

test('a damaged DuckDB file is reported by every command that reads it', {
  timeout: 120_000,
}, async () => {
  const data = join(cwd, 'with-damage')
  await plumblineOk(['--data', data, ...SIDE, 'x_y'], { cwd })
  await writeFile(join(data, 'plumbline.duckdb'), 'not a database\n'.repeat(2_000))
  const commands = [
    ['run', '--until-idle', '--policy', 'random-legal'],
    ['sql', 'select 1'],
    ['export', 'parquet', join(cwd, 'exported'), '--table', 'rewards'],
    ['verify', '--tables'],
    ['lag'],
  ]
  for (const command of commands) {
    const { code, stderr } = await plumbline(['--data', data, ...command], { cwd })
    expect({ command, code }).toEqual({ command, code: 1 })
    expect(stderr).toMatch(
      /with-damage.plumbline\.duckdb: expected a whole DuckDB file .*, found: .* remove it and .*\.wal, and start/,
    )
    expect(stderr).not.toMatch(/\n\s+at /)
  }
})
