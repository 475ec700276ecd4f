import { inject, test } from 'vitest'
import { mendByCommands } from '../../testing/foreign-records.ts'
import { sharedFolder } from '../cli/plumbline.ts'

test('on Kafka, foreign records in internal topics are named with the command that fixes it, after which everything continues', async () => {
  const cwd = await sharedFolder()
  const address = `kafka://${inject('kafka')}/foreign-${process.pid}`
  await mendByCommands({ cwd, env: { PLUMBLINE_DATA: cwd, PLUMBLINE_LOG: address } }, address)
}, 600_000)
