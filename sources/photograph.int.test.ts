import { execFileSync } from 'node:child_process'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { memoryBlobs } from '../infra/blobs/memory.ts'
import { temporaryFolder } from '../testing/temporary-folder.ts'
import { lererScenes } from './lerer.ts'

const picture = (shade: number) =>
  sharp({ create: { width: 40, height: 30, channels: 3, background: { r: shade, g: 90, b: 10 } } })

async function scenesOf(dir: string) {
  const source = await lererScenes({ dir, purpose: 'eval', group_size: 1, round: 0 }, memoryBlobs())
  return (await source.produce(0, source.steps, new AbortController().signal)).flatMap(({ event }) =>
    event.type === 'tower.scene_presented' ? [event.data as { is_stable: boolean; image: object }] : [],
  )
}

test('a photograph counts as it is seen: turned by its EXIF orientation, 16 bits as 8', async () => {
  const dir = await temporaryFolder()
  await picture(10)
    .jpeg()
    .withExif({ IFD0: { Orientation: '6' } })
    .withMetadata({ orientation: 6 })
    .toFile(join(dir, 'turned.jpg'))
  await picture(60).toColourspace('rgb16').png().toFile(join(dir, 'deep.png'))
  await writeFile(join(dir, 'labels.csv'), 'turned.jpg,stable\ndeep.png,unstable\n')
  const scenes = await scenesOf(dir)
  expect(scenes.map(({ image }) => image)).toMatchObject([
    { width: 30, height: 40, media_type: 'image/jpeg' },
    { width: 40, height: 30, media_type: 'image/png' },
  ])
})

test('a name with commas, quotes and line ends is read as CSV has it', async () => {
  const dir = await temporaryFolder()
  await picture(10).png().toFile(join(dir, 'a, "b".png'))
  await picture(60).png().toFile(join(dir, 'c.png'))
  await writeFile(
    join(dir, 'labels.csv'),
    '\uFEFFimage,label\r\n"a, ""b"".png",stable\r\n# a comment\r\n"c.png","falls"\r\n',
  )
  expect((await scenesOf(dir)).map(({ is_stable }) => is_stable)).toEqual([true, false])
})

describe('refused with its line, before anything is ingested:', () => {
  const cases: [string, string, (dir: string) => Promise<unknown>, RegExp][] = [
    [
      'a path out of the folder',
      '../out.png,stable',
      async (dir) =>
        picture(9)
          .png()
          .toFile(join(dir, '..', 'out.png')),
      /:1: image \.\.\/out\.png: it lies outside of/,
    ],
    [
      'a link out of the folder',
      'link.png,stable',
      async (dir) => symlink('/etc/passwd', join(dir, 'link.png')),
      /it lies outside of/,
    ],
    ['a device', 'zero.png,stable', async (dir) => symlink('/dev/zero', join(dir, 'zero.png')), /it lies outside of/],
    [
      'a pipe',
      'pipe.png,stable',
      async (dir) => execFileSync('mkfifo', [join(dir, 'pipe.png')]),
      /expected a regular file/,
    ],
    ['a folder', 'folder.png,stable', async (dir) => mkdir(join(dir, 'folder.png')), /expected a regular file/],
    [
      'an SVG under .png',
      'svg.png,stable',
      async (dir) => writeFile(join(dir, 'svg.png'), '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
      /PNG or JPEG by its first bytes/,
    ],
    [
      'a GIF under .png',
      'gif.png,stable',
      async (dir) => picture(9).gif().toFile(join(dir, 'gif.png')),
      /PNG or JPEG by its first bytes/,
    ],
    [
      'half a picture',
      'half.png,stable',
      async (dir) =>
        writeFile(
          join(dir, 'half.png'),
          (
            await sharp({
              create: {
                width: 400,
                height: 300,
                channels: 3,
                noise: { type: 'gaussian', mean: 120, sigma: 60 },
                background: 'red',
              },
            })
              .png()
              .toBuffer()
          ).subarray(0, 9_000),
        ),
      /cannot be decoded/,
    ],
    ['a quote that never ends', 'a.png,"stable\nb.png,stable', async () => undefined, /labels\.csv:\d+: .*[Qq]uote/],
    [
      'text that is no UTF-8',
      'caf\u00e9.png,stable',
      async (dir) => writeFile(join(dir, 'labels.csv'), Buffer.from('caf\u00e9.png,stable', 'latin1')),
      /expected UTF-8/,
    ],
  ]
  test.each(cases)('%s', async (_what, labels, make, message) => {
    const dir = join(await temporaryFolder(), 'towers')
    await mkdir(dir)
    await writeFile(join(dir, 'labels.csv'), labels)
    await make(dir)
    await expect(scenesOf(dir)).rejects.toThrow(message)
  })
})
