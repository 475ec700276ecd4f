/** Where a bucket is, and with what credentials. */
export interface S3Place {
  readonly bucket: string
  /** Put before the name of each object, without slashes at its ends; may be empty. */
  readonly prefix: string
  /** URL of the store. */
  readonly endpoint: string
  readonly region: string
  readonly access_key_id: string
  readonly secret_access_key: string
  readonly session_token?: string
}

/** An address or environment with which no bucket can be opened. */
export class S3PlaceError extends Error {
  override readonly name = 'S3PlaceError'
  readonly retry = 'never'
  readonly remedy: string

  constructor(message: string, remedy: string) {
    super(message)
    this.remedy = remedy
  }
}

const ADDRESS = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/([\w./-]*))?$/
const EXAMPLE = 'e.g. s3://my-bucket/plumbline'

/**
 * The place that an address names, with what the AWS command line takes from the environment too: `AWS_ACCESS_KEY_ID`,
 * `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` or `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3` or
 * `AWS_ENDPOINT_URL`.
 *
 * @throws S3PlaceError
 */
export function s3Place(address: string, env: Readonly<Record<string, string | undefined>>): S3Place {
  const [, bucket, path = ''] = ADDRESS.exec(address) ?? []
  if (bucket === undefined) throw new S3PlaceError(`${address}: expected s3://BUCKET or s3://BUCKET/PREFIX`, EXAMPLE)
  const prefix = path.replace(/^\/+|\/+$/g, '')
  // A URL would resolve these.
  if (prefix !== '' && prefix.split('/').some((part) => ['', '.', '..'].includes(part))) {
    throw new S3PlaceError(`${address}: expected a prefix without empty parts, . and ..`, EXAMPLE)
  }
  const { AWS_ACCESS_KEY_ID: access_key_id, AWS_SECRET_ACCESS_KEY: secret_access_key } = env
  if (!access_key_id || !secret_access_key) {
    const missing = access_key_id ? 'AWS_SECRET_ACCESS_KEY' : 'AWS_ACCESS_KEY_ID'
    throw new S3PlaceError(`${address}: ${missing} is not set`, 'export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…')
  }
  const region = env.AWS_REGION || env.AWS_DEFAULT_REGION || 'us-east-1'
  const endpoint = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || `https://s3.${region}.amazonaws.com`
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint)) {
    throw new S3PlaceError(
      `AWS_ENDPOINT_URL_S3: expected the URL of a store, got ${endpoint}`,
      'e.g. https://minio.example.org:9000',
    )
  }
  const session_token = env.AWS_SESSION_TOKEN ? { session_token: env.AWS_SESSION_TOKEN } : {}
  return { bucket, prefix, endpoint, region, access_key_id, secret_access_key, ...session_token }
}
