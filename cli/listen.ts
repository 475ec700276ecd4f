import type { Listening } from '../infra/http/listen.ts'
import type { Listen } from '../pipeline/metrics.ts'
import { UsageError } from '../pipeline/usage-error.ts'

/** Parser of an option that takes HOST:PORT; port 0 is any free one. */
export function listenAddress(option: string, example: string): (text: string) => Listen {
  return (text) => {
    const [, bracketed, plain, digits = ''] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text) ?? []
    const host = bracketed ?? plain
    if (host === undefined || Number(digits) > 65_535) {
      throw new UsageError(`--${option} ${text}: expected HOST:PORT`, `e.g. --${option} ${example}`)
    }
    return { host, port: Number(digits) }
  }
}

/** @throws UsageError when the address of `--listen` cannot be listened on */
export async function listening({ host, port }: Listen, server: Promise<Listening>): Promise<Listening> {
  return await server.catch((cause: unknown) => {
    const problem = cause instanceof Error ? cause.message : String(cause)
    throw new UsageError(`--listen ${host}:${port}: ${problem}`, 'name another port', { cause })
  })
}
