import { execFile } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Tls } from './cluster.ts'
import type { Java } from './java.ts'

/**
 * A certificate authority of this broker's own in `tls/`: nodes present `clients.p12` to clients and `nodes.p12` to
 * each other; clients trust `ca.pem`. Made with keytool, which is part of Java.
 */
export async function makeCertificates(dir: string, { keystore_password, valid_days }: Tls, java: Java): Promise<void> {
  const folder = join(dir, 'tls')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const keytool = (...args: readonly string[]) =>
    promisify(execFile)(java.keytool, [...args, '-J-XX:TieredStopAtLevel=1'], { cwd: folder, timeout: 60_000 })
  const store = (file: string) => ['-storetype', 'PKCS12', '-keystore', file, '-storepass', keystore_password]
  const key = ['-keyalg', 'EC', '-groupname', 'secp256r1']

  await keytool(
    ...['-genkeypair', '-alias', 'ca', '-dname', 'CN=Plumbline local broker', '-ext', 'bc:c', '-validity', '3650'],
    ...[...key, '-startdate', '-30d', ...store('authority.p12')],
  )
  await keytool('-exportcert', '-rfc', '-alias', 'ca', '-file', 'ca.pem', ...store('authority.p12'))
  for (const [name, days] of [
    ['clients', valid_days],
    ['nodes', 3_650],
  ] as const) {
    // A validity of one day that began two days ago has expired.
    const validity = days > 0 ? ['-validity', String(days)] : ['-startdate', `${days - 1}d`, '-validity', '1']
    const names = ['-dname', 'CN=127.0.0.1', '-ext', 'san=ip:127.0.0.1,dns:localhost']
    await keytool(
      ...['-genkeypair', '-alias', name, '-signer', 'ca', ...names, ...key, ...validity, ...store('authority.p12')],
    )
    await keytool(
      ...['-importkeystore', '-srckeystore', 'authority.p12', '-srcstorepass', keystore_password, '-srcalias', name],
      ...['-destkeystore', `${name}.p12`, '-deststorepass', keystore_password, '-deststoretype', 'PKCS12'],
    )
  }
  // The authority's key is no longer needed: nothing more will be signed.
  rmSync(join(folder, 'authority.p12'))
}
