import { createHash, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { readRegularFile } from './regular-file.ts'

/** `read`: what a call looks at or leases. `receipts`: what is recorded. `publish`: events and models. `sql`: the tables. */
export const ROLES = ['read', 'receipts', 'publish', 'sql'] as const
export type Role = (typeof ROLES)[number]

/** A name, or the beginning of names and a `*`. */
const CONSUMERS = /^([a-z0-9][a-z0-9._-]{0,63}\*?|\*)$/
const EVENTS = /^([a-z0-9_]+(\.[a-z0-9_]+)*(\.\*)?|\*)$/
const list = (one: z.ZodType<string>) => z.array(one).max(1_024)
const pattern = (of: RegExp, example: string) => z.string().regex(of, `expected ${example}`)

const TokenEntry = z.strictObject({
  name: pattern(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/, 'a name of letters, digits, ".", "_", "@" and "-"'),
  sha256: pattern(/^[0-9a-f]{64}$/, 'the SHA-256 of the token, 64 hexadecimal digits in lower case'),
  consumers: list(pattern(CONSUMERS, 'the name of a consumer, or its beginning and a *: lab, eval-*')),
  roles: list(z.enum(ROLES)).min(1),
  events: list(pattern(EVENTS, 'an event type, or its beginning and .*: gameplay.*')).default([]),
})
const TokenList = z.strictObject({ tokens: z.array(TokenEntry).max(4_096) })

/** What a token may do. The file has its hash, never the token. */
export type Token = z.infer<typeof TokenEntry>

export const hashOf = (token: string) => createHash('sha256').update(token).digest()

export const mayUse = (token: Token, consumer: string) =>
  token.consumers.some((one) => (one.endsWith('*') ? consumer.startsWith(one.slice(0, -1)) : consumer === one))

/** Whether it is for events of this type. */
export const mayPublish = (token: Token, type: string) =>
  token.events.some((one) => one === '*' || (one.endsWith('.*') ? type.startsWith(one.slice(0, -1)) : type === one))

/** @throws Error that says which field is not valid; it quotes nothing, in case a token stands where its hash belongs */
export function parseTokens(text: string): Token[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw new Error('expected JSON')
  }
  const result = TokenList.safeParse(parsed)
  if (!result.success) {
    const [issue] = result.error.issues
    throw new Error(`${issue?.path.join('.') || 'file'}: ${issue?.message}`)
  }
  const { tokens } = result.data
  for (const field of ['name', 'sha256'] as const) {
    const seen = new Set<string>()
    for (const [at, token] of tokens.entries()) {
      if (seen.has(token[field])) throw new Error(`tokens.${at}.${field}: another token has the same`)
      seen.add(token[field])
    }
  }
  return tokens
}

export interface TokenFileOptions {
  readonly report: (message: string) => void
  readonly now_ms?: () => number
}

/** How often the file is looked at, at most. */
const LOOK_MS = 1_000

/** The tokens of a file, read again when it changes. While it is not valid, the last ones that were stay. */
export class TokenFile {
  readonly #file: string
  readonly #report: (message: string) => void
  readonly #now_ms: () => number
  #tokens: readonly (Token & { readonly hash: Buffer })[] = []
  /** Of the contents that were read last, valid or not. */
  #version = ''
  #looked_ms = 0
  #looking: Promise<void> | undefined
  #trouble: string | undefined

  private constructor(file: string, { report, now_ms = () => performance.now() }: TokenFileOptions) {
    this.#file = file
    this.#report = report
    this.#now_ms = now_ms
  }

  /** @throws Error when the file cannot be read or is not valid */
  static async open(file: string, options: TokenFileOptions): Promise<TokenFile> {
    const tokens = new TokenFile(file, options)
    await tokens.#read()
    tokens.#looked_ms = tokens.#now_ms()
    return tokens
  }

  /** Compares hashes, with every token: timing reveals neither a part of a token nor which one it is. */
  async find(shown: string): Promise<Token | undefined> {
    await this.#look()
    const hash = hashOf(shown)
    let found: Token | undefined
    for (const token of this.#tokens) if (timingSafeEqual(token.hash, hash)) found = token
    return found
  }

  async #look(): Promise<void> {
    if (this.#looking === undefined) {
      if (this.#now_ms() - this.#looked_ms < LOOK_MS) return
      this.#looked_ms = this.#now_ms()
      this.#looking = this.#again().finally(() => {
        this.#looking = undefined
      })
    }
    await this.#looking
  }

  async #again(): Promise<void> {
    try {
      if (await this.#read()) this.#trouble = undefined
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      if (message === this.#trouble) return
      this.#trouble = message
      this.#report(`${this.#file}: ${message}; the tokens that it had before stay valid until this is corrected`)
    }
  }

  /** @returns whether the file has changed, and is valid */
  async #read(): Promise<boolean> {
    const found = await readRegularFile(this.#file, this.#version).catch((error: unknown) => {
      // Once it is back it is read, even if it is the same.
      this.#version = ''
      throw error
    })
    if (found === undefined) return false
    this.#version = found.version
    this.#tokens = parseTokens(found.text).map((token) => ({ ...token, hash: Buffer.from(token.sha256, 'hex') }))
    return true
  }
}
