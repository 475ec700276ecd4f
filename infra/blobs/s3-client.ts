import { AwsV4Signer } from 'aws4fetch'
import { type BlobCall, BlobsAwayError } from './blobs.ts'
import { anyOf, backOff } from './download.ts'
import { awayBecause, beginningOf, wasClosed } from './request.ts'
import type { S3Place } from './s3-options.ts'

export interface S3Request {
  readonly headers?: Record<string, string>
  /** The body, created again for each attempt. */
  readonly body?: () => NonNullable<RequestInit['body']>
  readonly timeout_ms?: number
  /** Replaces the time-out and the signal of the call. */
  readonly signal?: AbortSignal
}

const SHA256_OF_NOTHING = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** What a person has to do, by the code of an error. */
const REMEDIES: Readonly<Record<string, string>> = {
  InvalidAccessKeyId: 'the store does not know the key AWS_ACCESS_KEY_ID',
  SignatureDoesNotMatch: 'AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID',
  ExpiredToken: 'AWS_SESSION_TOKEN has expired; start again with a new one',
  InvalidToken: 'AWS_SESSION_TOKEN does not belong to AWS_ACCESS_KEY_ID',
  AccessDenied: 'a permission is missing: s3:GetObject, s3:PutObject and s3:ListBucket (without it, absence is hidden)',
  NoSuchBucket: 'there is no such bucket; create it, or look at --blobs',
  PermanentRedirect: 'the bucket is in another region; set AWS_REGION',
  AuthorizationHeaderMalformed: 'the bucket is in another region; set AWS_REGION',
  RequestTimeTooSkewed: 'the clocks of this host and of the store differ',
}

/** Signed requests to one bucket. A request that is refused for now is repeated. */
export class S3Client {
  readonly #place: S3Place
  readonly #stall_ms: number
  readonly #tries: number
  /** How messages name the store. */
  readonly at: string

  constructor(place: S3Place, stall_ms: number, tries: number) {
    this.#place = place
    this.#stall_ms = stall_ms
    this.#tries = tries
    this.at = `s3://${place.bucket}${place.prefix && `/${place.prefix}`} at ${place.endpoint}`
  }

  /**
   * @param path of an object in the bucket, and a query
   * @throws BlobsAwayError when no answer arrives
   */
  async ask(method: string, path: string, call: BlobCall, request: S3Request = {}): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      await backOff(attempt, call)
      const answer = await this.#send(method, path, call, request).catch((error: unknown) => {
        call.signal?.throwIfAborted()
        if (attempt + 1 < this.#tries && wasClosed(error)) return undefined
        throw awayBecause(this.at, error, 'look at AWS_ENDPOINT_URL_S3')
      })
      if (answer === undefined) continue
      if (attempt + 1 >= this.#tries || !isForNow(answer)) return answer
      await answer.body?.cancel()
    }
  }

  /** `fetch` of a signed request. A redirect is not followed: it would need another signature. */
  async #send(method: string, path: string, call: BlobCall, request: S3Request): Promise<Response> {
    const { bucket, endpoint, region, access_key_id, secret_access_key, session_token } = this.#place
    const { body, timeout_ms = this.#stall_ms } = request
    const signed = await new AwsV4Signer({
      method,
      url: `${endpoint.replace(/\/+$/, '')}/${bucket}${path}`,
      headers: { 'x-amz-content-sha256': SHA256_OF_NOTHING, ...request.headers },
      accessKeyId: access_key_id,
      secretAccessKey: secret_access_key,
      ...(session_token === undefined ? {} : { sessionToken: session_token }),
      region,
      service: 's3',
    }).sign()
    return await fetch(signed.url, {
      method,
      headers: signed.headers,
      redirect: 'manual',
      signal: request.signal ?? anyOf(AbortSignal.timeout(timeout_ms), call.signal),
      ...(body === undefined ? {} : { body: body(), duplex: 'half' }),
    })
  }

  /** The code of an error, as S3 names it, and a message for people. */
  async refusal(answer: Response, expected = ''): Promise<{ readonly code: string; readonly error: BlobsAwayError }> {
    const text = await beginningOf(answer, 1_000)
    const [, code = ''] = /<Code>(\w+)<\/Code>/.exec(text) ?? []
    const [, message = text.slice(0, 200)] = /<Message>([^<]*)<\/Message>/.exec(text) ?? []
    const remedy = REMEDIES[code] ?? expected
    const said = `${this.at}: answered ${answer.status}${code && ` ${code}`}: ${message}`
    return { code, error: new BlobsAwayError(remedy === '' ? said : `${said}; ${remedy}`) }
  }
}

/** 409: another conditional put of this object is in progress. */
const isForNow = ({ status }: Response) => status === 409 || status === 429 || (status >= 500 && status !== 501)
