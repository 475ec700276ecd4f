import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { NO_MOTO, startMoto } from '../infra/blobs/conformance/moto.ts'
import { commandsOf, typed } from '../testing/page-commands.ts'
import { sharedFolder } from '../tests/cli/plumbline.ts'

if (NO_MOTO !== undefined) test.skip(`docs/blobs.md does what it says (skipped: ${NO_MOTO})`)
else {
  test('docs/blobs.md works as described', async () => {
    const cwd = await sharedFolder()
    const moto = await startMoto()
    onTestFinished(() => moto.stop())
    const { endpoint, access_key_id, secret_access_key } = await moto.bucket('my-bucket')
    const env = {
      AWS_ACCESS_KEY_ID: access_key_id,
      AWS_SECRET_ACCESS_KEY: secret_access_key,
      AWS_ENDPOINT_URL_S3: endpoint,
      PLUMBLINE_BLOBS: 's3://my-bucket/towers',
    }
    const commands = (await commandsOf('docs/blobs.md')).filter((line) => line.startsWith('./plumbline'))
    expect(commands).toHaveLength(3)
    for (const command of commands) {
      const { code, stdout, stderr } = await typed(command, { cwd, env })
      expect(code, `${command}\n${stdout}${stderr}`).toBe(0)
      if (command.includes('verify')) expect(stdout).toContain('passed')
    }
    expect(readdirSync(join(cwd, 'data'))).not.toContain('blobs')
  })
}
