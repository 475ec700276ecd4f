import { isAscii, isUtf8 } from 'node:buffer'
import type { Field, Fields } from '../declare/logical-types.ts'
import type { FromJson } from './physical-type.ts'
import { physical } from './type-table.ts'

export interface JsonCodec {
  /** The JSON value of valid data: fields in the declared order, maps sorted, so that equal data give equal bytes. */
  toJson(row: unknown): unknown
  encode(row: unknown): Uint8Array
  /**
   * Does not validate the value.
   * @throws Error when the bytes are not JSON in UTF-8
   */
  decode(bytes: Uint8Array): unknown
}

export function jsonCodec(fields: Fields): JsonCodec {
  const row: Field = { logical: { kind: 'struct', fields }, about: '', nullable: false }
  const toJson = toJsonOf(row)
  const fromJson = fromJsonOf(row)
  return {
    toJson,
    encode: (data) => Buffer.from(JSON.stringify(toJson(data))),
    decode(bytes) {
      const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      const json: unknown = JSON.parse(textOf(buffer))
      return fromJson === undefined ? json : fromJson(json)
    },
  }
}

/** Fast path: all-ASCII bytes, the usual case, are decoded as Latin-1. */
function textOf(bytes: Buffer): string {
  if (isAscii(bytes)) return bytes.toString('latin1')
  if (!isUtf8(bytes)) throw new Error('the bytes are not UTF-8')
  return bytes.toString()
}

function toJsonOf({ logical, nullable }: Field): (value: unknown) => unknown {
  const toJson = physical(logical).toJson(logical, toJsonOf)
  return nullable ? (value) => (value === null ? null : toJson(value)) : toJson
}

function fromJsonOf({ logical, nullable }: Field): FromJson | undefined {
  const fromJson = physical(logical).fromJson(logical, fromJsonOf)
  return nullable && fromJson !== undefined ? (json) => (json === null ? null : fromJson(json)) : fromJson
}
