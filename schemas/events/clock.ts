import { defineEvent } from '../declare/event.ts'
import { ID } from '../declare/limits.ts'
import { oneOf, timestamp, utf8 } from '../declare/logical-types.ts'

export const clockTicked = defineEvent({
  type: 'clock.ticked',
  version: 1,
  key: 'tick',
  encoding: 'json',
  retention: 'recorded',
  routing: 'every_partition',
  about: 'The time of one clock has come this far. The only thing that fires timers.',
  row: {
    tick: utf8(ID, 'clock and time, unique'),
    clock: oneOf(['virtual', 'wall'], 'which clock'),
    time: timestamp('every event of this clock up to here may have been seen'),
  },
})
