import {
  LogDeniedError,
  OffsetGoneError,
  RecordTooLargeError,
  TopicMismatchError,
  UnknownTopicError,
} from '../log/log.ts'
import { ProcessorBrokenError } from './bug-watch.ts'
import { CauseExpiredError } from './journal-reader.ts'
import { StateVersionError } from './state-store.ts'

/** Waiting does not mend these. Errors of JavaScript itself come from our code. */
const FINAL = [
  ProcessorBrokenError,
  StateVersionError,
  CauseExpiredError,
  OffsetGoneError,
  UnknownTopicError,
  TopicMismatchError,
  LogDeniedError,
  RecordTooLargeError,
  TypeError,
  ReferenceError,
  RangeError,
]

/** Whether a worker that met this error would only meet it again. */
export function isFinal(error: Error): boolean {
  return FINAL.some((kind) => error instanceof kind)
}
