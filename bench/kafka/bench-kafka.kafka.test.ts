import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, inject, test } from 'vitest'

const MAIN = new URL('./main.ts', import.meta.url).pathname

const bench = (...words: readonly string[]) => promisify(execFile)(process.execPath, [MAIN, ...words])

// Without the peers: their tools (uv, Maven) and packages are not installed everywhere.
test('the peers’ job in its own worker gives the same groups as a plain loop, and its rate is reported', async () => {
  const { stdout } = await bench('peers', '--quick', '--with', '', '--json', '--broker', inject('kafka'))
  const { rounds, messages, results } = JSON.parse(stdout)
  expect({ rounds, messages }).toEqual({ rounds: 1, messages: 8_000 })
  expect(results).toMatchObject([
    { name: 'peers', against: null, unit: 'messages', seconds: 'wall', goal: null, reached: null },
    { name: 'peers', against: null, unit: 'messages', seconds: 'cpu' },
  ])
  for (const { median } of results) expect(median).toBeGreaterThan(0)
})

test('the tower loop on Kafka is a row with its ceiling', async () => {
  const { stdout } = await bench('topology', '--quick', '--broker', inject('kafka'))
  expect(stdout.split('\n')[2]).toMatch(
    /^\| score-completions and form-groups, .* \| decode \+ encode .* \| [\d.]+ \| .* \| ≥ 0.40 \| (yes|no) \| /,
  )
})

test('a Python trainer over Kafka is a row with its ceiling', async () => {
  const { stdout } = await bench('training', '--quick', '--broker', inject('kafka'))
  expect(stdout.split('\n')[2]).toMatch(
    /^\| Kafka to a Python trainer: .* \| a bare consumer of confluent-kafka, decoded by pyarrow \| [\d.]+ \| .* \| ≥ 0.70 \| (yes|no) \| /,
  )
})

test('an unknown benchmark or peer is refused with the list of known ones', async () => {
  await expect(bench('peer')).rejects.toMatchObject({
    code: 2,
    stderr:
      'bench:kafka: there is no benchmark peer\nthere are: peers, topology, pass-through, produce, consume, takeover, scale-out, latency, slow-sink, training\n',
  })
  await expect(bench('peers', '--with', 'storm')).rejects.toMatchObject({
    code: 2,
    stderr:
      'bench:kafka: --with storm: there is no such peer\nthere are: kafka-streams, flink, bytewax, quix, confluent\n',
  })
})
