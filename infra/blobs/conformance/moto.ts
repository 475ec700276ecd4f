import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { AwsClient } from 'aws4fetch'
import type { S3Place } from '../s3-options.ts'

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const PYTHON = at('../../../.venv/bin/python')
const SCRIPT = at('./moto-server.py')

/** Why no S3 can be started here; undefined if it can. */
export const NO_MOTO =
  globSync(at('../../../.venv/lib/python3*/site-packages/moto')).length > 0
    ? undefined
    : 'moto is not installed; npm test installs it, by hand: uv venv --python 3.11 .venv && uv pip sync --require-hashes python/requirements.txt'

export interface Moto {
  readonly port: number
  /** A new bucket, and any credentials: one of the requests that are not checked. */
  bucket(name: string): Promise<S3Place>
  stop(): Promise<void>
}

/** @param unchecked the number of requests after which credentials and permissions are checked; left out: never */
export async function startMoto(unchecked?: number): Promise<Moto> {
  const words = unchecked === undefined ? [] : [String(unchecked)]
  const process = spawn(PYTHON, [SCRIPT, ...words], { stdio: ['pipe', 'pipe', 'inherit'] })
  const port = Number(await firstLine(process))
  const endpoint = `http://127.0.0.1:${port}`
  return {
    port,
    async bucket(bucket) {
      const place = { bucket, prefix: '', endpoint, region: 'us-east-1', access_key_id: 'a', secret_access_key: 'b' }
      await signing(place).fetch(`${endpoint}/${bucket}`, { method: 'PUT' })
      return place
    },
    async stop() {
      process.stdin?.end()
      if (process.exitCode === null) await once(process, 'exit')
    },
  }
}

/** A client for what the driver does not do: other bytes under a name. */
export const signing = ({ access_key_id, secret_access_key, region }: S3Place) =>
  new AwsClient({ accessKeyId: access_key_id, secretAccessKey: secret_access_key, region, service: 's3', retries: 0 })

async function firstLine({ stdout }: ChildProcess): Promise<string> {
  if (stdout === null) throw new Error('moto has no standard output')
  for await (const line of createInterface({ input: stdout })) return line
  throw new Error('moto ended before it printed its port')
}
