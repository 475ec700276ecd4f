import { httpClient } from '../infra/http/http-client.ts'
import { placedModels } from '../infra/models/placed-models.ts'
import { DEFAULT_LIMITS, type Outside } from '../infra/runtime/work/effect-worker.ts'

/** The HTTP client and call limits of policies over HTTP. Only the client gets the API key of the environment. */
export function outsideOf(options: {
  readonly concurrency?: number | undefined
  readonly timeout_s?: number | undefined
  /** A folder that the server of a lineage sees too. */
  readonly adapters?: string | undefined
}): Outside {
  const { adapters, concurrency = DEFAULT_LIMITS.concurrency, timeout_s = DEFAULT_LIMITS.timeout_ms / 1_000 } = options
  const api_key = process.env.PLUMBLINE_API_KEY || process.env.OPENAI_API_KEY || undefined
  return {
    http: httpClient({ api_key }),
    ...(adapters === undefined ? {} : { models: (blobs) => placedModels(adapters, blobs) }),
    limits: { concurrency, timeout_ms: timeout_s * 1_000, max_waiting: Math.max(64, 4 * concurrency) },
  }
}
