import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { generate } from '../../cli/generate.ts'
import { verifyFolder } from '../../cli/verify.ts'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { prepareLog } from '../../pipeline/wiring.ts'
import { openSql } from '../../sinks/duckdb/sql-client.ts'
import { DEFAULTS, topology } from '../../streams/topology.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'

const PROGRAM = fileURLToPath(new URL('./worker-process.ts', import.meta.url))
const SCENES = 60

/** Runs the pipeline until it is done or kills itself. */
function run(data: string, killAt: string): Promise<{ signal: string | null; code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, data, killAt])
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    child.stderr.on('data', (chunk) => {
      output += chunk
    })
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, output }))
  })
}

test('a worker killed five times, also between append and commit, loses and duplicates nothing', {
  timeout: 180_000,
}, async () => {
  const data = await temporaryFolder()
  const folder = await openDataFolder({ data }, { create: true })
  const wiring = await topology({ ...DEFAULTS, policy: 'random-legal' })
  await prepareLog(folder, wiring)
  const scenes = {
    dataset: 'side_block',
    task: 'x_y',
    split: 'train',
    variant: 'plain',
    purpose: 'train',
    round: 0,
  } as const
  await generate(folder, { ...scenes, scenes: SCENES, seed: '7', group_size: 16 }, true, new AbortController().signal)
  await folder.close()

  for (const killAt of ['processed:3', 'appended:5', 'committed:4', 'appended:9', 'processed:6']) {
    const { signal, output } = await run(data, killAt)
    console.log(output.trim())
    expect(signal).toBe('SIGKILL')
  }
  const last = await run(data, 'never')
  expect(last, last.output).toMatchObject({ code: 0 })

  const reopened = await openDataFolder({ data }, { create: false })
  expect(await verifyFolder(reopened, wiring, { json: true })).toBe(true)
  await reopened.close()
  const session = await openSql({ file: reopened.duckdb_file })
  const { batches } = await session.query('select fate, completions from funnel where completions > 0')
  for await (const rows of batches) expect(rows).toEqual([['formed', String(SCENES * 16)]])
  session.close()
})
