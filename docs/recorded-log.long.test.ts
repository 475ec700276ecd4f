import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { commandsOf, typed } from '../testing/page-commands.ts'
import { sharedFolder } from '../tests/cli/plumbline.ts'

/** Follows the page as a reader would: saves its file, has two pictures, runs its commands. */
test('docs/recorded-log.md works as described', { timeout: 400_000 }, async () => {
  const cwd = await sharedFolder()
  const page = await readFile(new URL('./recorded-log.md', import.meta.url), 'utf8')
  for (const [, name = '', body = ''] of page.matchAll(/^```csv (\S+)\n([\s\S]*?)^```$/gm)) {
    await mkdir(dirname(join(cwd, name)), { recursive: true })
    await writeFile(join(cwd, name), body)
  }
  for (const [name, shade] of [
    ['a.png', 40],
    ['b.png', 200],
  ] as const) {
    const tower = sharp({ create: { width: 40, height: 30, channels: 3, background: { r: shade, g: 90, b: 10 } } })
    await tower.png().toFile(join(cwd, 'towers', name))
  }
  const printed: [line: string, stdout: string][] = []
  for (const line of await commandsOf('docs/recorded-log.md')) {
    const [command = '', file] = line.split(' > ')
    const { code, stdout, stderr } = await typed(command, { cwd })
    expect(code, `${line}\n${stdout}${stderr}`).toBe(0)
    if (file !== undefined) await writeFile(join(cwd, file), stdout)
    printed.push([line, stdout])
  }
  const of = (part: string) => printed.filter(([line]) => line.includes(part)).map(([, stdout]) => stdout)

  const [now = ''] = of('group by all order by all"').filter((stdout) => stdout.includes('x_only'))
  expect(now).toMatch(/x_only +640\n.*x_y +640/s)
  const [then = ''] = of('--as-of @then.json')
  expect(then).toMatch(/x_y +640/)
  expect(then).not.toContain('x_only')
  expect(of('--data copy verify')).toEqual(['verify: passed\n'])
  expect(of('--data again sql')[0]).toMatch(/x_only +stable +640\n.*x_y +stable +640/s)
  expect(await readFile(join(cwd, 'rewards.svg'), 'utf8')).toContain('<svg')
  expect(of('report funnel')[0]).toMatch(/formed/)
  expect(of('--data photographs sql')[0]).toMatch(/lerer +correct +4\n.*lerer +incorrect +4/s)
})
