import { expect, test } from 'vitest'
import { rolloutRequested } from '../schemas/events/rollout.ts'
import { condition, refuseUnknownFields } from './event-rows.ts'
import { typedTime } from './typed-time.ts'

test('a time is RFC 3339 or a date; other forms that JavaScript accepts are refused', () => {
  expect(typedTime('2026-01-31T12:00:00Z', '--as-of')).toBe(Date.UTC(2026, 0, 31, 12))
  expect(typedTime('2026-01-31T12:00+01:00', '--as-of')).toBe(Date.UTC(2026, 0, 31, 11))
  expect(typedTime('2026-01-31', '--as-of')).toBe(Date.UTC(2026, 0, 31))
  for (const text of [
    '1',
    '',
    'yesterday',
    '2026',
    '31.1.2026',
    '2026-13-01',
    '2026-01-31T12:00',
    'Jan 31 2026',
    '1e3',
  ]) {
    expect(() => typedTime(text, '--as-of'), text).toThrow(`--as-of ${text}: expected a time`)
  }
})

test('a condition on a field that the event does not have is refused with the list of its fields', () => {
  const refuse = (...texts: string[]) => refuseUnknownFields(rolloutRequested, texts.map(condition))
  refuse(
    'task=x_y',
    'start.value.dataset=side_block',
    'start.value.image.sha256=x',
    'start.value.blocks.0.x=1',
    'ce_source=/sources/tower',
  )
  expect(() => refuse('nope=1')).toThrow(/--where nope=1: rollout.requested has no field nope; there are group_id, /)
  expect(() => refuse('start.value.nope=1')).toThrow(/has no field nope; there are .*\bscene_id, /)
  expect(() => refuse('ce_nope=1')).toThrow(/has no field ce_nope/)
})
