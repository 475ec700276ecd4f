import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

/** A real HTTP server that speaks the chat protocol as vLLM does, and fails on demand. */

export interface ChatBody {
  readonly model: string
  readonly n?: number
  readonly seed: number
  readonly temperature: number
  readonly max_tokens?: number
  readonly top_k?: number
  readonly return_token_ids?: boolean
  readonly logit_bias?: Readonly<Record<string, number>>
  readonly logprobs?: boolean
  readonly messages: readonly {
    readonly role: string
    readonly content: readonly { readonly type: string; readonly text?: string; readonly image_url?: { url: string } }[]
  }[]
}

export interface Seen {
  readonly body: ChatBody
  readonly headers: IncomingMessage['headers']
  readonly at_ms: number
}

/** Answers a request instead of the server. */
export type Fault = (response: ServerResponse, body: ChatBody) => void | Promise<void>

export interface ChatServerOptions {
  /** 0: any free port. */
  readonly port?: number
  /** Returns at most this many choices, however many are requested. */
  readonly max_n?: number
  /** Returns token ids on request; false: a server without that feature. */
  readonly token_ids?: boolean
  /** The model's default for requests that set none; vLLM reads it from generation_config.json. */
  readonly top_k?: number
  readonly delay_ms?: number
  /** Returns the reason for refusing a request with status 400, or undefined to accept it. */
  readonly refuses?: (body: ChatBody) => string | undefined
  readonly text?: (seed: number, choice: number) => string
  /** Loads adapters at run time, and serves no other model, as vLLM with --enable-lora and its base unnamed. */
  readonly adapters?: boolean
}

/** A call of `/load_lora_adapter` or `/unload_lora_adapter`. */
export interface AdapterCall {
  readonly does: 'load' | 'unload'
  readonly lora_name: string
  readonly lora_path?: string
}

export class ChatServer {
  readonly seen: Seen[] = []
  /** For the next requests, one fault each. */
  readonly faults: Fault[] = []
  /** For every request while it is set. */
  always: Fault | undefined
  most_at_once = 0
  /** By name, the folders of the adapters that are loaded. A server that is started again has none. */
  readonly loaded = new Map<string, string>()
  readonly adapter_calls: AdapterCall[] = []
  /** For the next loads, one each. */
  readonly load_faults: ((response: ServerResponse) => void | Promise<void>)[] = []
  readonly #options: ChatServerOptions
  readonly #server: Server
  #at_once = 0

  private constructor(options: ChatServerOptions) {
    this.#options = options
    this.#server = createServer((request, response) => {
      this.#take(request, response).catch((error: unknown) => response.destroy(error as Error))
    })
  }

  static async start(options: ChatServerOptions = {}): Promise<ChatServer> {
    const server = new ChatServer(options)
    server.#server.listen(options.port ?? 0, '127.0.0.1')
    await once(server.#server, 'listening')
    return server
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/v1`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve))
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.most_at_once = Math.max(this.most_at_once, ++this.#at_once)
    response.on('close', () => this.#at_once--)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const told = Buffer.concat(chunks).toString('utf8')
    const of_adapters = /^\/v1\/(un)?load_lora_adapter$/.exec(request.url ?? '')
    if (of_adapters !== null && this.#options.adapters === true) {
      const does = of_adapters[1] === undefined ? 'load' : 'unload'
      return await this.#takeAdapter(response, { does, ...JSON.parse(told) })
    }
    if (request.url !== '/v1/chat/completions') return answer(response, 404, { detail: 'Not Found' })
    const body = JSON.parse(told) as ChatBody
    this.seen.push({ body, headers: request.headers, at_ms: performance.now() })
    const fault = this.faults.shift() ?? this.always
    if (fault !== undefined) return await fault(response, body)
    const refusal = this.#options.refuses?.(body)
    if (refusal !== undefined) return answer(response, 400, refusalOf(refusal))
    if (this.#options.adapters === true && !this.loaded.has(body.model)) {
      const message = `The model \`${body.model}\` does not exist.`
      return answer(response, 404, { error: { message, type: 'NotFoundError', param: 'model', code: 404 } })
    }
    if (this.#options.delay_ms !== undefined) await new Promise((go) => setTimeout(go, this.#options.delay_ms))
    answer(response, 200, this.completion(body))
  }

  /** As vLLM 0.32.0's `entrypoints/openai/models/serving.py` does. */
  async #takeAdapter(response: ServerResponse, call: AdapterCall): Promise<void> {
    const { does, lora_name, lora_path = '' } = call
    this.adapter_calls.push(call)
    if (does === 'unload') {
      if (this.loaded.delete(lora_name)) return answer(response, 200, 'removed')
      const message = `The lora adapter '${lora_name}' cannot be found.`
      return answer(response, 404, { error: { message, type: 'NotFoundError', code: 404 } })
    }
    const fault = this.load_faults.shift()
    if (fault !== undefined) await fault(response)
    if (response.writableEnded || response.destroyed) return
    if (this.loaded.has(lora_name)) {
      return answer(response, 400, refusalOf(`The lora adapter '${lora_name}' has already been loaded.`))
    }
    if (!existsSync(join(lora_path, 'adapter_model.safetensors'))) {
      const message = `Loading lora ${lora_name} failed: No adapter found for ${lora_path}`
      return answer(response, 404, { error: { message, type: 'NotFoundError', code: 404 } })
    }
    this.loaded.set(lora_name, lora_path)
    answer(response, 200, `Success: LoRA adapter '${lora_name}' added successfully.`)
  }

  /** A vLLM 0.32.0 answer (`processors/ask-policy/vllm-answer.json`), field for field, without usage. */
  completion(body: ChatBody): unknown {
    const { max_n = Number.POSITIVE_INFINITY, token_ids = true } = this.#options
    const says = token_ids && body.return_token_ids === true
    const greedy = (body.top_k ?? this.#options.top_k) === 1
    const content = [-0.1, -0.2, -0.3].map((logprob) => ({ token: 't', logprob, bytes: [116], top_logprobs: [] }))
    return {
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 1_795_331_538,
      model: body.model,
      choices: Array.from({ length: Math.min(body.n ?? 1, max_n) }, (_, index) => ({
        index,
        message: { role: 'assistant', content: this.#textOf(body, greedy ? 0 : index), refusal: null, reasoning: null },
        logprobs: body.logprobs ? { content } : null,
        finish_reason: 'stop',
        stop_reason: null,
        ...(token_ids ? { token_ids: says ? [greedy ? 10 : 10 + index, 11, 12] : null } : {}),
      })),
      system_fingerprint: 'chat-server-1',
      ...(token_ids ? { prompt_token_ids: says ? [1, 2, 3] : null } : {}),
    }
  }

  /** With adapters, it names the one that it is of. */
  #textOf({ model, seed }: ChatBody, choice: number): string {
    const { adapters = false, text = textOf } = this.#options
    return adapters ? `${text(seed, choice)} by ${model}` : text(seed, choice)
  }
}

/** In vLLM's error format. */
const refusalOf = (message: string) => ({ error: { message, type: 'BadRequestError', param: null, code: 400 } })

const textOf = (seed: number, choice: number) => `<answer>${(seed % 900) - 450 + choice}, 250</answer>`

export function answer(response: ServerResponse, status: number, body: unknown, headers = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

export const tooMany =
  (retry_after: string): Fault =>
  (response) =>
    answer(response, 429, { error: { message: 'Rate limit reached' } }, { 'retry-after': retry_after })

export const status =
  (code: number, message = 'it fell over'): Fault =>
  (response) =>
    answer(response, code, { error: { message } })

/** Accepts the request and never answers. */
export const stall: Fault = () => {}

/** Declares a longer body than it sends. */
export const truncated: Fault = (response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': '5000' })
  response.write('{"choices": [{"message": {"content": "<answer>1')
  setTimeout(() => response.destroy(), 20)
}

export const invalidJson: Fault = (response) => {
  response.writeHead(200, { 'content-type': 'application/json' }).end('<html>502 Bad Gateway</html>')
}

/** A whole answer, one byte every 200 ms, which would take minutes. */
export const slowDrip =
  (server: ChatServer): Fault =>
  (response, body) => {
    const bytes = Buffer.from(JSON.stringify(server.completion(body)))
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': bytes.byteLength })
    let at = 0
    const timer = setInterval(() => response.write(bytes.subarray(at, ++at)), 200)
    response.on('close', () => clearInterval(timer))
  }

export const hangUp: Fault = (response) => {
  response.destroy()
}
