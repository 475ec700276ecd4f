/** An OpenAI-compatible endpoint, and its name for the model or the lineage whose adapters it loads. */
export type HttpPolicy = {
  /** Without a trailing slash, e.g. http://127.0.0.1:8000/v1 */
  readonly url: string
  /** Ids of tokens that no trainer takes, such as a picture's in a completion; ascending, each once. Absent: none. */
  readonly unsupported_tokens?: readonly number[]
} & ({ readonly model: string; readonly lineage?: undefined } | { readonly lineage: string })

export const isHttpPolicy = (policy: string) => policy.startsWith('openai(')

/** `recorded(FILE.jsonl)`: completions are ingested, none are sampled. */
export const isRecorded = (policy: string) => policy.startsWith('recorded(')

/** OpenAI and vLLM take at most 300 biases. */
const MOST_UNSUPPORTED = 256
const MAX_TOKEN_ID = 2 ** 31 - 1

/**
 * Parses `openai(URL, MODEL)` and `openai(URL, lineage:LINEAGE)`, either with options after it:
 * `{"unsupported_tokens": [ID, …]}`.
 *
 * @throws RangeError that states what was expected.
 */
export function parseHttpPolicy(policy: string): HttpPolicy {
  const found = /^openai\(\s*([^\s,]+)\s*,\s*(\S(?:.*\S)?)\s*\)$/.exec(policy)
  const fail = (problem: string): never => {
    throw new RangeError(`policy openai: ${problem}; it looks like openai(http://127.0.0.1:8000/v1, MODEL)`)
  }
  // The arguments may contain a misplaced secret, so the error does not repeat them.
  if (found === null) return fail('expected a URL, a comma and the model’s name')
  const [, address = '', rest = ''] = found
  // A model's name may have commas and brackets in it, but does not end like these options.
  const [, model = rest, options] = /^(\S(?:.*\S)?)\s*,\s*(\{.*\})$/.exec(rest) ?? []
  if (!URL.canParse(address)) return fail('the first argument is no URL')
  const url = new URL(address)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return fail('expected a URL of http: or https:')
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    return fail('expected a URL without user, password or query; the key goes into PLUMBLINE_API_KEY')
  }
  const base = `${url.origin}${url.pathname}`.replace(/\/+$/, '').replace(/\/chat\/completions$/, '')
  const more = options === undefined ? {} : optionsOf(options, fail)
  if (!model.startsWith(OF_LINEAGE)) return { url: base, model, ...more }
  const lineage = model.slice(OF_LINEAGE.length)
  return lineage === '' ? fail('expected the name of a lineage after lineage:') : { url: base, lineage, ...more }
}

const OF_LINEAGE = 'lineage:'

function optionsOf(text: string, fail: (problem: string) => never): Pick<HttpPolicy, 'unsupported_tokens'> {
  const { unsupported_tokens, ...others } = objectOf(text) ?? fail('the options after the model are no JSON object')
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) fail(`option ${unknown}: expected unsupported_tokens`)
  if (unsupported_tokens === undefined) return {}
  const ids = Array.isArray(unsupported_tokens) ? (unsupported_tokens as unknown[]) : []
  const valid = ids.every((id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) <= MAX_TOKEN_ID)
  if (!valid || ids.length === 0 || ids.length > MOST_UNSUPPORTED) {
    fail(`unsupported_tokens: expected a list of 1 to ${MOST_UNSUPPORTED} token ids`)
  }
  return { unsupported_tokens: [...new Set(ids as number[])].sort((a, b) => a - b) }
}

function objectOf(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return undefined
  }
}

/** As it is recorded with every completion: what `unsupportedTokensOf` reads again. */
export function nameOf(policy: HttpPolicy): string {
  const { url, unsupported_tokens = [] } = policy
  const model = policy.lineage === undefined ? policy.model : `${OF_LINEAGE}${policy.lineage}`
  const options = unsupported_tokens.length === 0 ? '' : `, ${JSON.stringify({ unsupported_tokens })}`
  return `openai(${url}, ${model}${options})`
}

/**
 * The tokens that a recorded policy declared as unsupported. The name is part of the completion's event, so that a
 * rebuild rejects the same completions. A name that is no such policy, or no valid one, declares none.
 */
export function unsupportedTokensOf(policy: string): ReadonlySet<number> {
  if (!isHttpPolicy(policy) || !policy.includes('"unsupported_tokens"')) return NONE
  try {
    return new Set(parseHttpPolicy(policy).unsupported_tokens)
  } catch {
    return NONE
  }
}

const NONE: ReadonlySet<number> = new Set()

/** The first token of a completion that its policy declared as unsupported. */
export function unsupportedTokenIn(completion: {
  readonly policy: string
  readonly token_ids: readonly number[] | null
}): number | undefined {
  const unsupported = unsupportedTokensOf(completion.policy)
  return unsupported.size === 0 ? undefined : completion.token_ids?.find((id) => unsupported.has(id))
}
