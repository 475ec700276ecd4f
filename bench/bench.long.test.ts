import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'

const MAIN = new URL('./main.ts', import.meta.url).pathname

function bench(...words: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...words], { encoding: 'utf8' })
  return { status, stdout, stderr }
}

test('a quick run of two benchmarks prints a table: one row with a ratio and its ceiling, one with a rate only', () => {
  const { status, stdout } = bench('render', 'log-scan', '--quick')
  expect(status).toBe(0)
  const lines = stdout.split('\n')
  expect(lines[0]).toBe('| what | compared with | median | least … most | goal | reached | per second |')
  expect(lines[2]).toMatch(
    /^\| scan 256 B .* \| lmdb-js range of the same bytes \| [\d.]+ \| .* \| (yes|no) \| .* against /,
  )
  expect(lines[4]).toMatch(/^\| render 256×256 RGB \| – \| [\d,]+ \| [\d,]+ … [\d,]+ \| ≥ 8,000 \| (yes|no) \| /)
})

test('as JSON, every row names what was measured, what it is compared with, and whether the goal is reached', () => {
  const { status, stdout } = bench('physics', '--quick', '--json')
  expect(status).toBe(0)
  const { pairs, results } = JSON.parse(stdout)
  expect(pairs).toBe(1)
  for (const result of results) {
    expect(result).toMatchObject({ name: 'physics', unit: 'outcomes', seconds: 'cpu', reached: expect.any(Boolean) })
    expect(result.median).toBeGreaterThan(0)
    expect(result.low).toBeLessThanOrEqual(result.high)
  }
})

test('rescoring in a separate process is measured as a ratio and as memory', () => {
  const { status, stdout } = bench('rescore', '--quick', '--json')
  expect(status).toBe(0)
  const [time, memory] = JSON.parse(stdout).results
  expect(time).toMatchObject({ unit: 'completions', seconds: 'wall', pairs: 1, ceiling_rate: expect.any(Number) })
  expect(time.what).toBe('rescore of 3,200 recorded completions')
  expect(memory).toMatchObject({ unit: 'MiB', seconds: null, goal: 1024, reached: true })
  expect(memory.high).toBeGreaterThan(10)
})

test('SQL queries are timed at two sizes, next to a flat table, with the growth of their time', {
  timeout: 300_000,
}, () => {
  const { status, stdout, stderr } = bench('sql', '--quick', '--json')
  expect(status, stderr).toBe(0)
  const results: { what: string; against: string | null; unit: string; low: number; goal: number | null }[] =
    JSON.parse(stdout).results
  const named = (text: string) => results.filter(({ what }) => what.includes(text))
  expect(named('from rewards group by all`')[0]).toMatchObject({
    against: 'one flat table of the same rows',
    unit: 'rows',
    goal: 1 / 3,
  })
  expect(named('one group of')).toHaveLength(6)
  expect(named('all of advantages').map(({ unit, goal }) => [unit, goal])).toEqual([
    ['ms', null],
    ['exponent', 1.1],
  ])
  for (const { what, unit, low } of results) expect(unit === 'exponent' || low > 0, what).toBe(true)
})

test('every command that reads a whole log is measured at two sizes: time, memory and their growth', {
  timeout: 300_000,
}, () => {
  const { status, stdout, stderr } = bench('growth', '--quick', '--json')
  expect(status, stderr).toBe(0)
  const results: { what: string; unit: string; median: number; goal: number | null }[] = JSON.parse(stdout).results
  const verify = results.filter(({ what }) => what.startsWith('verify, '))
  expect(verify.map(({ what, unit, goal }) => [what, unit, goal])).toEqual([
    ['verify, at 320', 's', null],
    ['verify, at 640', 's', null],
    ['verify, growth of time', 'exponent', 1.1],
    ['verify, memory at 320', 'MiB', null],
    ['verify, memory at 640', 'MiB', null],
  ])
  for (const { what, unit, median } of results) if (unit !== 'exponent') expect(median, what).toBeGreaterThan(0)
})

test('the training feed is measured against Arrow over HTTP and bare commits, and its start in seconds', {
  timeout: 300_000,
}, () => {
  const { status, stdout, stderr } = bench('feed', '--quick', '--json')
  expect(status, stderr).toBe(0)
  const results: { against: string | null; unit: string; median: number; goal: number | null }[] =
    JSON.parse(stdout).results
  expect(results.map(({ against, unit, goal }) => [against, unit, goal])).toEqual([
    ['the same Arrow streams over HTTP into pyarrow', 'groups', 0.6],
    ['the same Arrow streams over HTTP into pyarrow', 'groups', 0.4],
    ['as many commits of positions alone', 'steps', 0.5],
    ['the 25 alone', 'groups', 0.9],
    [null, 'MiB', 700],
    [null, 's', null],
    [null, 's', 5],
    [null, 's', 5],
  ])
  for (const { median } of results) expect(median).toBeGreaterThan(0)
})

test('a published model is timed to its first completion, and what that is made of', { timeout: 120_000 }, () => {
  const { status, stdout, stderr } = bench('model-swap', '--quick', '--json')
  expect(status, stderr).toBe(0)
  const results: { what: string; unit: string; median: number; goal: number | null }[] = JSON.parse(stdout).results
  expect(results.map(({ unit, goal }) => [unit, goal])).toEqual([['ms', 300], ...Array(4).fill(['ms', null])])
  for (const { what, median } of results) expect(median, what).toBeGreaterThan(0)
})

test('an unknown benchmark is refused with the list of known ones', () => {
  const { status, stderr } = bench('rendr')
  expect(status).toBe(2)
  expect(stderr).toContain('there is no benchmark rendr\nthere are: log-append, log-scan, codec')
})
