/** An OpenAI-compatible endpoint, and its name for the model or the lineage whose adapters it loads. */
export type HttpPolicy = {
  /** Without a trailing slash, e.g. http://127.0.0.1:8000/v1 */
  readonly url: string
} & ({ readonly model: string; readonly lineage?: undefined } | { readonly lineage: string })

export const isHttpPolicy = (policy: string) => policy.startsWith('openai(')

/** `recorded(FILE.jsonl)`: completions are ingested, none are sampled. */
export const isRecorded = (policy: string) => policy.startsWith('recorded(')

/**
 * Parses `openai(URL, MODEL)` and `openai(URL, lineage:LINEAGE)`.
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
  const [, address = '', model = ''] = found
  if (!URL.canParse(address)) return fail('the first argument is no URL')
  const url = new URL(address)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return fail('expected a URL of http: or https:')
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    return fail('expected a URL without user, password or query; the key goes into PLUMBLINE_API_KEY')
  }
  const base = `${url.origin}${url.pathname}`.replace(/\/+$/, '').replace(/\/chat\/completions$/, '')
  if (!model.startsWith(OF_LINEAGE)) return { url: base, model }
  const lineage = model.slice(OF_LINEAGE.length)
  return lineage === '' ? fail('expected the name of a lineage after lineage:') : { url: base, lineage }
}

const OF_LINEAGE = 'lineage:'

export const nameOf = (policy: HttpPolicy) =>
  `openai(${policy.url}, ${policy.lineage === undefined ? policy.model : `${OF_LINEAGE}${policy.lineage}`})`
