import { filesHash } from '../../schemas/wire/identity.ts'
import { excerpt } from '../ask-policy/chat-answer.ts'
import { refusalOf, saidIn } from '../ask-policy/chat-refusal.ts'
import { type CallContext, CallFailedError, type HttpAnswer, type ModelToPlace } from '../processor.ts'

type Reach = Pick<CallContext, 'http' | 'models' | 'signal' | 'now_ms' | 'learned'>

/** The server will not take this adapter, however often it is asked. */
export class AdapterRefusedError extends Error {
  override readonly name = 'AdapterRefusedError'
  readonly retry = 'never'
}

/** A server answers a load with 500 for an adapter that does not fit its model, and also when it is short of memory. */
const MOST_LOAD_ERRORS = 3

/** What a server calls a model: names of other contents differ, so that no server answers with stale weights. */
export function adapterName({ lineage, files }: Pick<ModelToPlace, 'lineage' | 'files'>): string {
  return `${lineage}@${filesHash(files).slice(0, 12)}`
}

/** How long the parts of making a server answer with an adapter took. */
export interface LoadTimes {
  readonly fetch_ms: number
  readonly load_ms: number
}

/**
 * Makes a server have an adapter under its name, by vLLM's `POST /load_lora_adapter`. One that has it already is left as it
 * is.
 *
 * @throws ModelUnsoundError, AdapterRefusedError when it will never be loaded; CallFailedError otherwise
 */
export async function loadAdapter(url: string, model: ModelToPlace, reach: Reach): Promise<LoadTimes> {
  const { http, models, signal, now_ms, learned } = reach
  const name = adapterName(model)
  const started_ms = now_ms()
  const lora_path = await models.place(model)
  const placed_ms = now_ms()
  const answer = await http.post(`${url}/load_lora_adapter`, { lora_name: name, lora_path }, signal)
  const said = saidIn(answer) || excerpt(answer.text)
  if (answer.status !== 200 && !/already.*loaded/i.test(said)) throw loadError(url, name, answer, said, reach)
  learned.delete(unloaded(name))
  for (let error = 1; error <= MOST_LOAD_ERRORS; error++) learned.delete(failed(name, error))
  return { fetch_ms: placed_ms - started_ms, load_ms: now_ms() - placed_ms }
}

function loadError(url: string, name: string, answer: HttpAnswer, said: string, { learned, now_ms }: Reach): Error {
  const { status } = answer
  const of = `${url}: loading ${name}: HTTP ${status}: ${said}`
  if (status === 404 || status === 405) {
    const remedy = /adapter/i.test(said)
      ? 'does it see the folder of --adapters under the same path?'
      : 'start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True'
    return new CallFailedError(`${of}; ${remedy}`, { scope: 'endpoint', permanent: true })
  }
  if (status === 400 || status === 422) return new AdapterRefusedError(of)
  if (status !== 500) return refusalOf(answer, url, now_ms())
  let errors = 1
  while (learned.has(failed(name, errors))) errors++
  learned.add(failed(name, errors))
  return errors >= MOST_LOAD_ERRORS ? new AdapterRefusedError(of) : new CallFailedError(of, { scope: 'call' })
}

/**
 * Asks for one token, so that the first completion that is recorded does not wait for kernels to be compiled.
 *
 * @returns how long it took, in ms
 * @throws AdapterRefusedError when the server answers that it cannot; CallFailedError otherwise
 */
export async function warmAdapter(url: string, name: string, { http, signal, now_ms }: Reach): Promise<number> {
  const started_ms = now_ms()
  const messages = [{ role: 'user', content: 'Hello' }]
  const answer = await http.post(`${url}/chat/completions`, { model: name, messages, max_tokens: 1 }, signal)
  if (answer.status === 400 || answer.status === 422) {
    throw new AdapterRefusedError(`${url}: the first answer of ${name}: HTTP ${answer.status}: ${saidIn(answer)}`)
  }
  if (answer.status === 404) {
    throw new CallFailedError(`${url}: ${name} was loaded, and is gone: ${saidIn(answer)}`, { scope: 'call' })
  }
  if (answer.status !== 200) throw refusalOf(answer, url, now_ms())
  return now_ms() - started_ms
}

/**
 * Makes a server forget adapters, by `POST /unload_lora_adapter`. vLLM answers the calls that use one before it is gone.
 * One that it does not have is no error, and one that it will not unload costs memory alone: a server drops the one that
 * was used least recently.
 */
export async function unloadAdapters(url: string, names: readonly string[], reach: Reach): Promise<void> {
  const { http, signal, learned } = reach
  for (const name of names) {
    if (learned.has(unloaded(name))) continue
    await http.post(`${url}/unload_lora_adapter`, { lora_name: name }, signal)
    learned.add(unloaded(name))
  }
}

const failed = (name: string, times: number) => `loading ${name} failed ${times} times`
const unloaded = (name: string) => `${name} is unloaded`
