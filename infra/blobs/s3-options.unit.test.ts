import { expect, test } from 'vitest'
import { retryOf } from '../retry.ts'
import { S3PlaceError, s3Place } from './s3-options.ts'

const KEYS = { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'secret' }

test.each([
  ['s3://bucket', {}, { bucket: 'bucket', prefix: '', endpoint: 'https://s3.us-east-1.amazonaws.com' }],
  ['s3://bucket/', {}, { prefix: '' }],
  ['s3://my.bucket-1/a/b_c/', { AWS_REGION: 'eu-west-1' }, { bucket: 'my.bucket-1', prefix: 'a/b_c' }],
  ['s3://bucket', { AWS_REGION: 'eu-west-1' }, { endpoint: 'https://s3.eu-west-1.amazonaws.com' }],
  ['s3://bucket', { AWS_DEFAULT_REGION: 'eu-west-1' }, { region: 'eu-west-1' }],
  ['s3://bucket', { AWS_ENDPOINT_URL: 'http://10.0.0.5:9000' }, { endpoint: 'http://10.0.0.5:9000' }],
  [
    's3://bucket',
    { AWS_ENDPOINT_URL_S3: 'http://10.0.0.6:9000', AWS_ENDPOINT_URL: 'http://10.0.0.5:9000' },
    { endpoint: 'http://10.0.0.6:9000' },
  ],
  ['s3://bucket', { AWS_SESSION_TOKEN: 'token' }, { session_token: 'token' }],
])('%s with %o', (address, env, expected) => {
  expect(s3Place(address, { ...KEYS, ...env })).toMatchObject({ ...expected, access_key_id: 'key' })
})

test.each([
  ['s3://', KEYS, 's3://: expected s3://BUCKET or s3://BUCKET/PREFIX'],
  ['s3://Bucket', KEYS, 's3://Bucket: expected s3://BUCKET or s3://BUCKET/PREFIX'],
  ['s3://bucket/a b', KEYS, 's3://bucket/a b: expected s3://BUCKET or s3://BUCKET/PREFIX'],
  ['s3://bucket/a/../b', KEYS, 's3://bucket/a/../b: expected a prefix without empty parts, . and ..'],
  ['s3://bucket/a//b', KEYS, 's3://bucket/a//b: expected a prefix without empty parts, . and ..'],
  ['s3://bucket', {}, 's3://bucket: AWS_ACCESS_KEY_ID is not set'],
  ['s3://bucket', { AWS_ACCESS_KEY_ID: 'key' }, 's3://bucket: AWS_SECRET_ACCESS_KEY is not set'],
  [
    's3://bucket',
    { ...KEYS, AWS_ENDPOINT_URL: 'minio:9000' },
    'AWS_ENDPOINT_URL_S3: expected the URL of a store, got minio:9000',
  ],
])('%s is refused', (address, env, message) => {
  const refused = () => s3Place(address, env)
  expect(refused).toThrow(S3PlaceError)
  expect(refused).toThrow(message)
  expect(retryOf(new S3PlaceError('x', 'y'))).toBe('never')
})
