import {
  CommitOutcomeUnknownError,
  FencedError,
  LogDeniedError,
  LogUnreachableError,
  OffsetGoneError,
  RecordTooLargeError,
  TopicMismatchError,
  TopicReplacedError,
  UnknownTopicError,
} from '../port/log.ts'

/**
 * What an error of a broker or its connection means for the caller:
 * `away`: the connection is lost. `moved`: another broker is responsible now. `busy`: the same call may succeed soon.
 * `denied`: neither waiting nor another broker helps. `fenced`: a later producer has the id. `too_large`: the broker
 * does not accept a record of this size. `other`: an unlisted error that is not marked as temporary.
 */
export type Kind = 'away' | 'moved' | 'busy' | 'denied' | 'fenced' | 'too_large' | 'other'

interface RawError {
  readonly name?: string
  readonly type?: string
  readonly code?: string | number
  readonly message?: string
  readonly cause?: unknown
  readonly retriable?: boolean
  readonly broker?: string
}

const MOVED = new Set([
  'NOT_LEADER_FOR_PARTITION',
  'LEADER_NOT_AVAILABLE',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'REPLICA_NOT_AVAILABLE',
  'KAFKA_STORAGE_ERROR',
  'OFFSET_NOT_AVAILABLE',
  'NOT_COORDINATOR_FOR_GROUP',
  'GROUP_COORDINATOR_NOT_AVAILABLE',
  'NOT_CONTROLLER',
  'BROKER_NOT_AVAILABLE',
  // The topic was deleted, or this broker has not heard of it yet: a new look-up shows which.
  'UNKNOWN_TOPIC_OR_PARTITION',
])
const BUSY = new Set([
  'GROUP_LOAD_IN_PROGRESS',
  'CONCURRENT_TRANSACTIONS',
  'UNSTABLE_OFFSET_COMMIT',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'REQUEST_TIMED_OUT',
  'THROTTLING_QUOTA_EXCEEDED',
  'NETWORK_EXCEPTION',
  // Unexpected server error; also the answer of a coordinator that has stalled past the time-out of a transaction.
  'UNKNOWN',
])
const DENIED = new Set([
  'UNSUPPORTED_SASL_MECHANISM',
  'SASL_AUTHENTICATION_FAILED',
  'SECURITY_DISABLED',
  'UNSUPPORTED_VERSION',
  'INVALID_TRANSACTION_TIMEOUT',
  'POLICY_VIOLATION',
])
const FENCED = new Set(['INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED'])
const TOO_LARGE = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE'])
const AWAY = new Set([
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSLockTimeout',
  'KafkaJSBrokerNotFound',
])
/** Codes of TLS errors: the certificate, or the host it is for. */
const CERTIFICATE = /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_TLS|ERR_SSL|EPROTO)/

/** The error behind kafkajs's wrappers. */
export function rootOf(error: unknown): RawError {
  const raw = (error ?? {}) as RawError
  const wrapper = raw.name === 'KafkaJSNumberOfRetriesExceeded' || raw.name === 'KafkaJSNonRetriableError'
  return wrapper && raw.cause instanceof Error ? rootOf(raw.cause) : raw
}

export function kindOf(error: unknown): Kind {
  const { name = '', type = '', code, message = '', retriable } = rootOf(error)
  if (type.endsWith('AUTHORIZATION_FAILED') || DENIED.has(type)) return 'denied'
  if (name === 'KafkaJSSASLAuthenticationError' || name === 'KafkaJSServerDoesNotSupportApiKey') return 'denied'
  if (CERTIFICATE.test(String(code)) || /certificate/i.test(message)) return 'denied'
  if (MOVED.has(type)) return 'moved'
  if (BUSY.has(type)) return 'busy'
  if (FENCED.has(type)) return 'fenced'
  if (TOO_LARGE.has(type)) return 'too_large'
  if (AWAY.has(name)) return 'away'
  return retriable === true ? 'busy' : 'other'
}

export const isTemporary = (kind: Kind) => kind === 'away' || kind === 'moved' || kind === 'busy'

/** The matching error of the log port: where, what was tried, what happened, what to do. */
export function told(address: string, what: string, error: unknown, tried_ms = 0): Error {
  if (error instanceof Error && PORT_ERRORS.some((kind) => error instanceof kind)) return error
  const raw = rootOf(error)
  const at = raw.broker === undefined ? '' : ` (broker ${raw.broker})`
  const reason = raw.type ?? (raw.message || raw.name || String(error))
  const after = tried_ms < 1_000 ? '' : ` after ${(tried_ms / 1_000).toFixed(1)} s of trying`
  const head = `${address}: ${what} failed${after}: ${reason}${at}`
  const kind = kindOf(error)
  switch (kind) {
    case 'denied':
      return new LogDeniedError(`${head}. ${remedyOf(raw)}`, { cause: error })
    case 'fenced':
      return new FencedError(
        `${head}: a later producer has opened this id, or the broker has timed its transaction out. Nothing was written; drop the unsaved work.`,
        { cause: error },
      )
    case 'too_large':
      return new RecordTooLargeError(
        `${head}: a record is larger than the broker takes (message.max.bytes, max.message.bytes of the topic). ` +
          'Nothing was written; raise the limit, or emit smaller events.',
        { cause: error },
      )
    case 'other':
      return new Error(`${head}. This is not known to be temporary; look at the broker's log.`, { cause: error })
    default:
      return new LogUnreachableError(`${head}. ${remedyOf(raw)}`, { cause: error })
  }
}

/** These already have a complete message. */
const PORT_ERRORS = [
  CommitOutcomeUnknownError,
  FencedError,
  LogDeniedError,
  LogUnreachableError,
  OffsetGoneError,
  RecordTooLargeError,
  TopicMismatchError,
  TopicReplacedError,
  UnknownTopicError,
]

function remedyOf({ name, type = '', code, message = '' }: RawError): string {
  if (name === 'KafkaJSSASLAuthenticationError' || type === 'SASL_AUTHENTICATION_FAILED') {
    return 'Check PLUMBLINE_KAFKA_USERNAME, PLUMBLINE_KAFKA_PASSWORD and PLUMBLINE_KAFKA_SASL (plain or scram-sha-512).'
  }
  if (type === 'UNSUPPORTED_SASL_MECHANISM') {
    return 'Set PLUMBLINE_KAFKA_SASL to a mechanism that the broker offers: plain or scram-sha-512.'
  }
  if (type.endsWith('AUTHORIZATION_FAILED')) return 'Ask for the right (ACL) to do this, or use another user.'
  if (code === 'CERT_HAS_EXPIRED') return "The broker's certificate has expired: it needs a new one."
  if (CERTIFICATE.test(String(code)) || /certificate/i.test(message)) {
    return "Name the authority that signed the broker's certificate with PLUMBLINE_KAFKA_CA=FILE.pem, and the host it was made for in the address; a listener without TLS needs neither."
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'No such host is known: check the address.'
  if (code === 'ECONNREFUSED')
    return 'Nothing listens there: start the broker (./plumbline broker start), or check the address.'
  if (AWAY.has(name ?? '')) {
    return 'Check that the broker runs and can be reached; a listener with TLS or SASL also closes connections of clients without (PLUMBLINE_KAFKA_CA, PLUMBLINE_KAFKA_SASL).'
  }
  return 'It may pass by itself: try again.'
}
