import { readFileSync } from 'node:fs'
import { COMPRESSIONS, type Compression } from './codecs.ts'

/** `kafka://host:port[,host:port…][/prefix]`, and the settings from the environment. */
export interface KafkaAddress {
  /** As a person types it, without secrets. */
  readonly text: string
  readonly seeds: readonly { readonly host: string; readonly port: number }[]
  /** Prefix of all topics, groups and transactional ids: pipelines can share a broker. Ends in a dot, or empty. */
  readonly prefix: string
  readonly ca: string | 'system' | undefined
  readonly sasl: { readonly mechanism: string; readonly username: string; readonly password: string } | undefined
  readonly compression: Compression
  /** Copies of each partition of a new topic; −1 is the broker's default. */
  readonly replication: number
}

const MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512']
const PREFIX = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/

/** @throws RangeError that names the problem with the address or a variable. */
export function parseKafkaAddress(text: string, env: NodeJS.ProcessEnv = process.env): KafkaAddress {
  const match = /^kafka:\/\/([^/?#]+)(?:\/([^/?#]*))?$/.exec(text)
  if (match === null) throw new RangeError(`${text}: expected kafka://HOST:PORT[,HOST:PORT…][/PREFIX]`)
  const [, hosts = '', prefix = ''] = match
  if (prefix !== '' && !PREFIX.test(prefix)) {
    throw new RangeError(`${text}: expected a prefix of letters, digits, '.', '_' and '-', got ${prefix}`)
  }
  const compression = (env.PLUMBLINE_KAFKA_COMPRESSION || 'zstd') as Compression
  if (!COMPRESSIONS.includes(compression)) {
    throw new RangeError(`PLUMBLINE_KAFKA_COMPRESSION=${compression}: expected one of ${COMPRESSIONS.join(', ')}`)
  }
  const replication = Number(env.PLUMBLINE_KAFKA_REPLICATION || -1)
  if (!Number.isInteger(replication) || replication === 0 || replication < -1) {
    throw new RangeError(
      `PLUMBLINE_KAFKA_REPLICATION=${env.PLUMBLINE_KAFKA_REPLICATION}: expected how many copies, e.g. 3`,
    )
  }
  return {
    text,
    seeds: hosts.split(',').map((host) => parseSeed(text, host)),
    prefix: prefix === '' ? '' : `${prefix}.`,
    ca: certificates(env),
    sasl: credentials(env),
    compression,
    replication,
  }
}

function parseSeed(text: string, seed: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:@[\]]+))(?::(\d+))?$/.exec(seed)
  const port = Number(match?.[3] ?? 9092)
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || port < 1 || port > 65_535) {
    const why = seed.includes('@')
      ? '; a user and password belong in the environment (PLUMBLINE_KAFKA_USERNAME, PLUMBLINE_KAFKA_PASSWORD)'
      : ''
    throw new RangeError(
      `${seed.includes('@') ? 'the Kafka address' : text}: expected HOST:PORT between the commas, got something else${why}`,
    )
  }
  return { host, port }
}

function certificates(env: NodeJS.ProcessEnv): string | 'system' | undefined {
  const file = env.PLUMBLINE_KAFKA_CA
  if (file) {
    try {
      return readFileSync(file, 'utf8')
    } catch (cause) {
      throw new RangeError(
        `PLUMBLINE_KAFKA_CA=${file}: expected a file with certificates in PEM: ${(cause as Error).message}`,
        { cause },
      )
    }
  }
  const tls = env.PLUMBLINE_KAFKA_TLS || '0'
  if (tls !== '0' && tls !== '1') throw new RangeError(`PLUMBLINE_KAFKA_TLS=${tls}: expected 1 or 0`)
  return tls === '1' ? 'system' : undefined
}

function credentials(env: NodeJS.ProcessEnv): KafkaAddress['sasl'] {
  const mechanism = env.PLUMBLINE_KAFKA_SASL
  if (!mechanism) return undefined
  if (!MECHANISMS.includes(mechanism)) {
    throw new RangeError(`PLUMBLINE_KAFKA_SASL=${mechanism}: expected one of ${MECHANISMS.join(', ')}`)
  }
  const { PLUMBLINE_KAFKA_USERNAME: username, PLUMBLINE_KAFKA_PASSWORD: password } = env
  if (!username || !password) {
    throw new RangeError(
      `PLUMBLINE_KAFKA_SASL=${mechanism}: expected PLUMBLINE_KAFKA_USERNAME and PLUMBLINE_KAFKA_PASSWORD as well`,
    )
  }
  return { mechanism, username, password }
}
