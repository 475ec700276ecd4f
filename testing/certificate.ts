import { execFile, spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { temporaryFolder } from './temporary-folder.ts'

export interface Certificate {
  readonly cert: string
  readonly key: string
  readonly cert_file: string
  readonly key_file: string
}

const SELF_SIGNED =
  'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1'

/** Why no certificate can be made here. */
export const NO_OPENSSL = spawnSync('openssl', ['version']).status === 0 ? undefined : 'there is no openssl'

/** A self-signed certificate of localhost, until the test ends. */
export async function certificate(): Promise<Certificate> {
  const folder = await temporaryFolder()
  const [cert_file, key_file] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  await promisify(execFile)('openssl', [...SELF_SIGNED.split(' '), '-out', cert_file, '-keyout', key_file])
  return { cert: await readFile(cert_file, 'utf8'), key: await readFile(key_file, 'utf8'), cert_file, key_file }
}
