import { expect, test } from 'vitest'
import { Scraper, typePage } from '../../testing/scraper.ts'
import { describeWithBroker, testBroker } from '../../testing/with-broker.ts'
import { eventually, plumbline, plumblineOk, sharedFolder, start } from '../../tests/cli/plumbline.ts'

const PATIENCE_MS = 150_000

describeWithBroker('docs/runbook/log-away.md', () => {
  test('a killed broker: stages report the log as unavailable and retry; once it is back, they continue', async () => {
    const broker = await testBroker()
    const cwd = await sharedFolder()
    const place = { cwd, env: { PLUMBLINE_LOG: `kafka://${broker.bootstrap}` } }
    const tower = [
      'generate',
      'tower',
      '--dataset',
      'top_block',
      '--task',
      'x_only',
      '--group-size',
      '2',
      '--seed',
      '7',
    ]
    await plumblineOk([...tower, '--scenes', '4'], place)
    const running = start(['run', '--policy', 'random-legal', '--metrics', '127.0.0.1:0'], place)
    const scraper = await Scraper.of(running)
    await eventually(() => scraper.isReady(), PATIENCE_MS)
    await scraper.over('PlumblineLogAway', PATIENCE_MS)

    const [node] = broker.nodes
    await node?.kill()
    await scraper.until('PlumblineLogAway', [''], PATIENCE_MS)
    await scraper.until('PlumblineStageRetrying', ['form-groups'], PATIENCE_MS)
    // Fails while the log is unavailable, as the page says.
    expect(await typePage('docs/runbook/log-away.md', scraper, place, /lag|readyz/)).toMatch(/^503 .*"form-groups":/)
    const lag = await plumbline(['lag'], place)
    expect([lag.code, lag.stderr]).toEqual([1, expect.stringContaining(broker.bootstrap)])

    await node?.start()
    await scraper.over('PlumblineLogAway', PATIENCE_MS)
    for (const alert of ['PlumblineStageRetrying', 'PlumblineSinkFailing']) await scraper.over(alert, PATIENCE_MS)
    await eventually(() => scraper.isReady(), PATIENCE_MS)
    const printed = await typePage('docs/runbook/log-away.md', scraper, place)
    expect(printed).toMatch(/200 \{"status":"ok"[\s\S]*200 \{"status":"ready"/)
    await plumblineOk([...tower, '--scenes', '8'], place)
    await eventually(
      async () => (await scraper.valuesOf('plumbline_events_total', 'form-groups')).includes(8),
      PATIENCE_MS,
    )
    running.child.kill('SIGTERM')
    expect((await running.ended).code).toBe(0)
  }, 580_000)
})
