import { createSecureContext } from 'node:tls'
import type { Listen } from '../pipeline/metrics.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { TokenFile } from '../sinks/feed/access/tokens.ts'
import { readTextFile } from '../sources/plain-file.ts'

export interface FeedCommandOptions {
  readonly listen: Listen
  readonly tokens?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly insecure: boolean
}

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/

/** @throws UsageError when other hosts could reach the feed, and it would not know them, or could be overheard */
export function expectAllowed({ listen, tokens, tlsCert, insecure }: FeedCommandOptions): void {
  if (LOOPBACK.test(listen.host)) return
  const option = `--listen ${listen.host}:${listen.port}`
  if (tokens === undefined) {
    throw new UsageError(
      `${option}: expected --tokens FILE: whoever reaches this address could lease, report and retire`,
      'make a token with "plumbline feed token", or listen on 127.0.0.1 and let other hosts in through an SSH tunnel: ssh -L 8470:127.0.0.1:8470 this-host',
    )
  }
  if (tlsCert === undefined && !insecure) {
    throw new UsageError(
      `${option}: expected --tls-cert and --tls-key: without TLS, everybody on the way reads the tokens and can then use them`,
      'name a certificate and its key, or add --insecure if all of this network is trusted',
    )
  }
}

/**
 * @throws FileError when one of them cannot be read
 * @throws UsageError when they are no pair
 */
export async function tlsOf({
  tlsCert,
  tlsKey,
}: FeedCommandOptions): Promise<{ cert: string; key: string } | undefined> {
  if (tlsCert === undefined && tlsKey === undefined) return undefined
  if (tlsCert === undefined || tlsKey === undefined) {
    const [given, missing] = tlsKey === undefined ? ['--tls-cert', '--tls-key'] : ['--tls-key', '--tls-cert']
    throw new UsageError(`${given}: expected ${missing} as well`, 'name a certificate and its private key, both in PEM')
  }
  const [cert, key] = await Promise.all([readTextFile(tlsCert), readTextFile(tlsKey)])
  try {
    createSecureContext({ cert, key })
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause)
    throw new UsageError(
      `--tls-cert ${tlsCert} --tls-key ${tlsKey}: expected a certificate and its private key, got: ${problem}`,
      'both in PEM, the key without a passphrase; "openssl x509 -in FILE -noout -text" shows a certificate',
      { cause },
    )
  }
  return { cert, key }
}

/** @throws UsageError when the file cannot be read or is not valid */
export async function tokensOf(
  { tokens: file }: FeedCommandOptions,
  report: (message: string) => void,
): Promise<TokenFile | undefined> {
  if (file === undefined) return undefined
  return await TokenFile.open(file, { report }).catch((cause: unknown) => {
    const problem = cause instanceof Error ? cause.message : String(cause)
    throw new UsageError(`--tokens ${file}: ${problem}`, '"plumbline feed token" makes such a file', { cause })
  })
}
