/** Why the feed refuses a call; `docs/feed.md` lists the codes. */
export const REFUSAL_CODES = [
  'invalid',
  'unknown_consumer',
  'unknown_checkpoint',
  'fenced',
  'already_subscribed',
  'retired',
  'run_exists',
  'not_resumable',
  'lease_lost',
  'stale',
  'not_begun',
  'out_of_order',
  'incomplete',
  'used',
  'too_many_leased',
  'other_topic',
  'other_transport',
  'forbidden',
  'id_taken',
  'blobs_missing',
  'version_taken',
  'not_sound',
  'sql_failed',
] as const
export type RefusalCode = (typeof REFUSAL_CODES)[number]

/** Every code that an answer may have. */
export const ANSWERED_CODES = [
  ...REFUSAL_CODES,
  ...([
    'unauthorised',
    'not_found',
    'too_large',
    'too_slow',
    'blob_differs',
    'out_of_range',
    'unavailable',
    'bug',
  ] as const),
] as const

/** What the answer has besides code and message. Numbers are sequence numbers, but for steps and ranks. */
export interface RefusalDetails {
  readonly groups?: readonly number[]
  readonly missing?: readonly number[]
  readonly superfluous?: readonly number[]
  readonly later?: readonly number[]
  readonly ranks?: readonly { readonly step: number; readonly rank: number }[]
  readonly broken_step?: number
  /** SHA-256 of those that are not stored. */
  readonly blobs?: readonly string[]
  /** What is wrong with a model. */
  readonly problems?: readonly string[]
}

/** A call that the state of the consumer does not allow. Repeating it without a change gives the same answer. */
export class FeedRefusal extends Error {
  override readonly name = 'FeedRefusal'
  readonly retry = 'never'
  readonly code: RefusalCode
  readonly details: RefusalDetails

  constructor(code: RefusalCode, message: string, details: RefusalDetails = {}) {
    super(message)
    this.code = code
    this.details = details
  }
}

export const isOverKafka = (name: string) =>
  new FeedRefusal(
    'other_transport',
    `consumer ${name}: subscribed over Kafka, got a call over HTTP; train with Groups(kafka=…), or subscribe another name`,
  )
