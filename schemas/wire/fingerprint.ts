import { createHash } from 'node:crypto'
import type { EventType, Routing } from '../declare/event.ts'
import type { Field, Fields } from '../declare/logical-types.ts'
import { keysSorted } from './keys-sorted.ts'
import type { Json, JsonObject } from './physical-type.ts'
import { physical } from './type-table.ts'

/** The declaration of one version of an event, current or earlier: it decodes a record's bytes. */
export interface EventVersion {
  readonly version: number
  readonly row: Fields
  /** Default: that of the event. */
  readonly routing?: Routing
}

/** Every version that may still be read, oldest first. */
export function versionsOf(type: EventType): EventVersion[] {
  return [...type.earlier, type].map(({ version, row, routing = type.routing }) => ({ version, row, routing }))
}

const fingerprints = new WeakMap<Fields, Map<string, string>>()

/**
 * SHA-256 of everything that decoding depends on: type, version, encoding, key, routing, and every field with its type
 * and nullability. Descriptions, bounds, retention and the order of fields are not part of it.
 */
export function fingerprintOf(type: EventType, { version, row, routing = type.routing }: EventVersion = type): string {
  const known = fingerprints.get(row) ?? new Map<string, string>()
  fingerprints.set(row, known)
  const name = `${type.type} v${version} ${type.encoding} ${type.key} ${routing}`
  const fingerprint =
    known.get(name) ?? sha256(JSON.stringify(keysSorted(declarationOf(type, { version, row, routing }))))
  known.set(name, fingerprint)
  return fingerprint
}

const PREFIX = 16

/** `plumbline:tower.completions_scored/1/0123456789abcdef`: type, version and the fingerprint's beginning. */
export function dataSchemaUri(type: EventType, version: EventVersion = type): string {
  return `plumbline:${type.type}/${version.version}/${fingerprintOf(type, version).slice(0, PREFIX)}`
}

const DATA_SCHEMA = /^plumbline:([a-z0-9_.]+)\/(\d+)\/([0-9a-f]{16})$/

export function parseDataSchemaUri(uri: string): { type: string; version: number; fingerprint: string } | undefined {
  const [, type, version, fingerprint] = DATA_SCHEMA.exec(uri) ?? []
  if (type === undefined || version === undefined || fingerprint === undefined) return undefined
  return { type, version: Number(version), fingerprint }
}

function declarationOf(
  { type, encoding, key }: EventType,
  { version, row, routing }: Required<EventVersion>,
): JsonObject {
  const fields = Object.fromEntries(Object.entries(row).map(([name, field]) => [name, declaredField(field)]))
  return { type, version, encoding, key, routing, fields }
}

export function declaredField({ logical, nullable }: Field): Json {
  return { ...physical(logical).declared(logical, declaredField), nullable }
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
