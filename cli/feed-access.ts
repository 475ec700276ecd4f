import type { Listen } from '../pipeline/metrics.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { TokenFile } from '../sinks/feed/access/tokens.ts'

export interface FeedCommandOptions {
  readonly listen: Listen
  readonly tokens?: string
  readonly insecure: boolean
}

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/

/** @throws UsageError when other hosts could reach the feed, and it would not know them, or could be overheard */
export function expectAllowed({ listen, tokens, insecure }: FeedCommandOptions): void {
  if (LOOPBACK.test(listen.host)) return
  const option = `--listen ${listen.host}:${listen.port}`
  if (tokens === undefined) {
    throw new UsageError(
      `${option}: expected --tokens FILE: whoever reaches this address could lease, report and retire`,
      'make a token with "plumbline feed token", or listen on 127.0.0.1 and let other hosts in through an SSH tunnel: ssh -L 8470:127.0.0.1:8470 this-host',
    )
  }
  if (!insecure) {
    throw new UsageError(
      `${option}: expected --insecure: without TLS, everybody on the way reads the tokens and can then use them`,
      'add --insecure if all of this network is trusted, or listen on 127.0.0.1 and let other hosts in through an SSH tunnel',
    )
  }
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
