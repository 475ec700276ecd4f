import { expect, test } from 'vitest'
import { eventOf } from '../../../schemas/conformance/arbitrary.ts'
import { defineEvent } from '../../../schemas/declare/event.ts'
import { declared, utf8 } from '../../../schemas/declare/logical-types.ts'
import { blobsIn } from './blobs-named-by.ts'

const asked = defineEvent({
  ...{ type: 'trial.asked_alone', version: 1, key: 'id', encoding: 'json', retention: 'source', about: '' },
  row: { id: utf8(), start: declared() },
})

test('a declared value references the blobs that it holds, also where its declaration is unknown', () => {
  const picture = { sha256: 'a'.repeat(64), bytes: 1, media_type: 'image/png' }
  const start = { declaration: 'elsewhere.state', version: 1, value: { frames: [{ picture }] } }
  expect(blobsIn(asked, eventOf(asked, { id: 'a', start }))).toEqual([picture])
})
