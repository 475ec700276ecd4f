import { InvariantError } from '../processor.ts'

/** Texts as tokens of a vocabulary: at each place, the longest token that fits. */
export class Tokeniser {
  /** By first character (UTF-16 unit): tokens, the longest text first. */
  readonly #by_first = new Map<string, { readonly text: string; readonly token: number }[]>()

  /** @param vocabulary the text of each token; empty: none that a text has */
  constructor(vocabulary: readonly string[]) {
    for (const [token, text] of vocabulary.entries()) {
      const first = text[0]
      if (first === undefined) continue
      const found = this.#by_first.get(first)
      if (found === undefined) this.#by_first.set(first, [{ text, token }])
      else found.push({ text, token })
    }
    for (const tokens of this.#by_first.values())
      tokens.sort((a, b) => b.text.length - a.text.length || a.token - b.token)
  }

  /** @throws InvariantError where no token fits */
  tokens(text: string): number[] {
    const tokens: number[] = []
    for (let at = 0; at < text.length; ) {
      const fitting = this.#by_first.get(text[at] as string)?.find((one) => text.startsWith(one.text, at))
      if (fitting === undefined) {
        throw new InvariantError(
          `prompt: no token of the model's vocabulary fits at character ${at}, ${JSON.stringify(text.slice(at, at + 10))}`,
        )
      }
      tokens.push(fitting.token)
      at += fitting.text.length
    }
    return tokens
  }
}
