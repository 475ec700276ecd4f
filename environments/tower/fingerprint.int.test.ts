import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { simulatorFingerprint } from './fingerprint.ts'

const SCENES = 12

test('scenes, pictures and outcomes are the same in another process', async () => {
  const module = JSON.stringify(new URL('./fingerprint.ts', import.meta.url).href)
  const program = `import { simulatorFingerprint } from ${module}; console.log(await simulatorFingerprint(${SCENES}))`
  const elsewhere = execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' })
  expect(elsewhere.trim()).toBe(await simulatorFingerprint(SCENES))
})

test('they are the same as when SIMULATOR_VERSION was last raised: raise it if this golden changes', async () => {
  expect(await simulatorFingerprint(SCENES)).toMatchInlineSnapshot(
    `"7c7725e1cf6e833ee1115f758b6852160e8a64cf04759f376454a3717b284b47"`,
  )
})
