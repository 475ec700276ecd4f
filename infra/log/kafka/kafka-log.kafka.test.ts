import { inject } from 'vitest'
import { logConformance } from '../conformance/conformance.ts'
import { kafkaHarness } from './test-harness.ts'

logConformance('the Kafka log', () => kafkaHarness(inject('kafka')), {
  skips: {
    'an owner whose lease has ended continues until another member takes over':
      'a Kafka broker removes a member when its session ends, whether or not another takes over; it rejoins and repeats what it had not committed',
  },
  concurrent: true,
})
