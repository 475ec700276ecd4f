import { expect, test } from 'vitest'
import { parseKafkaAddress } from './address.ts'

test('hosts, ports and a prefix', () => {
  expect(parseKafkaAddress('kafka://a:1,b,[::1]:3/mine', {})).toMatchObject({
    seeds: [
      { host: 'a', port: 1 },
      { host: 'b', port: 9092 },
      { host: '::1', port: 3 },
    ],
    prefix: 'mine.',
    compression: 'zstd',
    ca: undefined,
    sasl: undefined,
  })
})

test.each([
  ['kafka:host', {}, 'kafka:host: expected kafka://HOST:PORT'],
  ['kafka://host:99999', {}, 'expected HOST:PORT'],
  ['kafka://host/a/b', {}, 'expected kafka://HOST:PORT'],
  ['kafka://host/ü', {}, 'expected a prefix of letters'],
  ['kafka://host', { PLUMBLINE_KAFKA_SASL: 'kerberos' }, 'expected one of plain'],
  ['kafka://host', { PLUMBLINE_KAFKA_SASL: 'plain' }, 'expected PLUMBLINE_KAFKA_USERNAME and PLUMBLINE_KAFKA_PASSWORD'],
  ['kafka://host', { PLUMBLINE_KAFKA_CA: '/no/such.pem' }, 'expected a file with certificates in PEM'],
  ['kafka://host', { PLUMBLINE_KAFKA_TLS: 'yes' }, 'expected 1 or 0'],
  ['kafka://host', { PLUMBLINE_KAFKA_COMPRESSION: 'brotli' }, 'expected one of zstd, lz4, gzip, none'],
])('%s with %j is refused', (address, env, says) => {
  expect(() => parseKafkaAddress(address, env)).toThrow(says)
})

test('a password in the address is refused, and the error does not repeat it', () => {
  expect(() => parseKafkaAddress('kafka://me:secret@host:1', {})).toThrow(/^(?!.*secret).*belong in the environment/)
})
