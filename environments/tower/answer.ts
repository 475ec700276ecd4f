/**
 * Reads the answer from a completion. The paper does not define the format; it is inferred from the prompts: the last
 * `<answer>…</answer>` pair counts, and it must contain the answer and nothing else.
 */

import type { Task } from './task.ts'
import { ANSWER_RANGES } from './task.ts'

export type ParseError =
  | 'no_answer_tag'
  | 'empty_answer'
  | 'not_yes_or_no'
  | 'not_an_integer'
  | 'one_integer_expected'
  | 'two_integers_expected'
  | 'integer_too_large'
  | 'out_of_prompt_range'

/** Every reason why an answer is unparseable, in the order of the checks. */
export const PARSE_ERRORS: readonly ParseError[] = [
  'no_answer_tag',
  'empty_answer',
  'not_yes_or_no',
  'not_an_integer',
  'one_integer_expected',
  'two_integers_expected',
  'integer_too_large',
  'out_of_prompt_range',
]

export type Answer =
  | { readonly kind: 'judgement'; readonly yes: boolean }
  /** Signed answer units; `dy` is 0 if the task asks for one integer. */
  | { readonly kind: 'move'; readonly dx: number; readonly dy: number }

/** `text` is the text between the tags, trimmed; null without tags. */
export type ParsedAnswer =
  | { readonly ok: true; readonly text: string; readonly answer: Answer }
  | { readonly ok: false; readonly text: string | null; readonly error: ParseError }

export interface AnswerOptions {
  /** Whether integers outside the prompt's range are unparseable. Default false: the paper's −4 branch needs dy < 0. */
  readonly reject_out_of_range?: boolean
}

const OPEN = '<answer>'
const CLOSE = '</answer>'
const LARGEST = 2 ** 31
const ONE_INTEGER = /^[+-]?[0-9]+$/
const TWO_INTEGERS = /^([+-]?[0-9]+)(?:\s*,\s*|\s+)([+-]?[0-9]+)$/

/**
 * The answer in `completion` to `task`, or why there is none. Linear in the length of the completion.
 *
 * Yes and No are accepted in any case; an integer may have a sign; two integers are separated by a comma or white space
 * and may be enclosed in one pair of brackets or parentheses. An integer beyond ±2³¹ is unparseable (inferred: this
 * keeps every position exact).
 */
export function parseAnswer(completion: string, task: Task, options: AnswerOptions = {}): ParsedAnswer {
  const between = lastAnswer(completion)
  if (between === null) return { ok: false, text: null, error: 'no_answer_tag' }
  const text = between.trim()
  if (text === '') return { ok: false, text, error: 'empty_answer' }
  const answer = task === 'binary_stability' ? readJudgement(text) : readMove(text, task, options)
  return typeof answer === 'string' ? { ok: false, text, error: answer } : { ok: true, text, answer }
}

function readJudgement(text: string): Answer | ParseError {
  const word = text.toLowerCase()
  if (word === 'yes') return { kind: 'judgement', yes: true }
  if (word === 'no') return { kind: 'judgement', yes: false }
  return 'not_yes_or_no'
}

function readMove(text: string, task: Task, options: AnswerOptions): Answer | ParseError {
  const pair = TWO_INTEGERS.exec(withoutBrackets(text))
  const isOne = ONE_INTEGER.test(text)
  if (pair === null && !isOne) return 'not_an_integer'
  if (task === 'x_only' && !isOne) return 'one_integer_expected'
  if (task === 'x_y' && pair === null) return 'two_integers_expected'
  const dx = toInteger(pair === null ? text : (pair[1] as string))
  const dy = pair === null ? 0 : toInteger(pair[2] as string)
  if (Math.abs(dx) > LARGEST || Math.abs(dy) > LARGEST) return 'integer_too_large'
  if (options.reject_out_of_range === true && !(isWithin(dx, ANSWER_RANGES.dx) && isWithin(dy, ANSWER_RANGES.dy))) {
    return 'out_of_prompt_range'
  }
  return { kind: 'move', dx, dy }
}

/** The text of the last pair, or null. A closing tag pairs with the nearest opening tag since the last closing tag. */
function lastAnswer(completion: string): string | null {
  let close = completion.lastIndexOf(CLOSE)
  while (close >= 0) {
    const before = close === 0 ? -1 : completion.lastIndexOf(CLOSE, close - 1)
    const span = completion.slice(before < 0 ? 0 : before + CLOSE.length, close)
    const open = span.lastIndexOf(OPEN)
    if (open >= 0) return span.slice(open + OPEN.length)
    close = before
  }
  return null
}

function withoutBrackets(text: string): string {
  const isBracketed = (text.startsWith('[') && text.endsWith(']')) || (text.startsWith('(') && text.endsWith(')'))
  return isBracketed ? text.slice(1, -1).trim() : text
}

/** Adding zero turns −0 into 0, because JSON and equality treat them differently. */
function toInteger(digits: string): number {
  return Number(digits) + 0
}

function isWithin(value: number, range: { readonly low: number; readonly high: number }): boolean {
  return value >= range.low && value <= range.high
}
