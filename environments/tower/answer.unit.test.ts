import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PARSE_ERRORS, parseAnswer } from './answer.ts'
import { TASKS } from './task.ts'

const integer = fc.integer({ min: -(2 ** 31), max: 2 ** 31 })
const signed = (value: number, plus: boolean) => (plus && value >= 0 ? `+${value}` : String(value))

describe('which pair counts', () => {
  test.each([
    ['<answer>5</answer>', 5],
    ['<answer>1</answer> no, rather <answer>2</answer>', 2],
    ['<answer>1</answer> or <answer>', 1],
    ['<answer>1</answer></answer>', 1],
    ['<answer>1<answer>2</answer>', 2],
    ['<think>between <answer> </answer>: 7</think>\n<answer>\n -12 \n</answer>', -12],
  ])('%j answers %i', (text, dx) => {
    expect(parseAnswer(text, 'x_only')).toMatchObject({ ok: true, answer: { dx, dy: 0 } })
  })

  test.each(['', '5', '<answer>5', '5</answer>', '</answer>5<answer>', '<ANSWER>5</ANSWER>'])(
    '%j has no pair',
    (text) => {
      expect(parseAnswer(text, 'x_only')).toEqual({ ok: false, text: null, error: 'no_answer_tag' })
    },
  )

  test('is the last one, whatever text surrounds it', () => {
    fc.assert(
      fc.property(fc.string(), integer, integer, fc.string(), (before, first, last, after) => {
        fc.pre(![before, after].some((noise) => noise.includes('answer>')))
        const text = `${before}<answer>${first}</answer>${before}<answer>${last}</answer>${after}`
        expect(parseAnswer(text, 'x_only')).toMatchObject({ ok: true, answer: { dx: last } })
      }),
    )
  })

  test('is found in linear time', () => {
    const started = performance.now()
    parseAnswer('<answer>'.repeat(100_000), 'x_only')
    parseAnswer('</answer>'.repeat(100_000), 'x_only')
    parseAnswer(`<answer>${' '.repeat(500_000)}x</answer>`, 'x_y')
    expect(performance.now() - started).toBeLessThan(1000)
  })
})

describe('judgements', () => {
  test.each(['Yes', 'yes', 'YES', ' yEs\n'])('%j is a yes', (word) => {
    expect(parseAnswer(`<answer>${word}</answer>`, 'binary_stability')).toMatchObject({
      ok: true,
      answer: { kind: 'judgement', yes: true },
    })
  })

  test.each(['No', 'no', 'NO'])('%j is a no', (word) => {
    expect(parseAnswer(`<answer>${word}</answer>`, 'binary_stability')).toMatchObject({
      ok: true,
      answer: { yes: false },
    })
  })

  test.each(['Yes.', 'maybe', '1', 'yes no', 'Yes!'])('%j is neither', (word) => {
    expect(parseAnswer(`<answer>${word}</answer>`, 'binary_stability')).toEqual({
      ok: false,
      text: word,
      error: 'not_yes_or_no',
    })
  })
})

describe('moves', () => {
  test('reads every signed integer up to 2^31', () => {
    fc.assert(
      fc.property(integer, fc.boolean(), (dx, plus) => {
        expect(parseAnswer(`<answer>${signed(dx, plus)}</answer>`, 'x_only')).toMatchObject({
          ok: true,
          answer: { kind: 'move', dx, dy: 0 },
        })
      }),
    )
  })

  test('reads every pair, with any separator and brackets', () => {
    const separator = fc.constantFrom(',', ', ', ' , ', ' ', '\n', '\t ')
    const brackets = fc.constantFrom(['', ''], ['[', ']'], ['(', ')'], ['[ ', ' ]'])
    fc.assert(
      fc.property(integer, integer, fc.boolean(), separator, brackets, (dx, dy, plus, between, [open, close]) => {
        const text = `<answer>${open}${signed(dx, plus)}${between}${signed(dy, plus)}${close}</answer>`
        expect(parseAnswer(text, 'x_y')).toMatchObject({ ok: true, answer: { kind: 'move', dx, dy } })
      }),
    )
  })

  test.each([
    ['x_only', '1, 2', 'one_integer_expected'],
    ['x_only', '[1 2]', 'one_integer_expected'],
    ['x_y', '1', 'two_integers_expected'],
    ['x_only', '2147483649', 'integer_too_large'],
    ['x_y', '0, -99999999999999999999', 'integer_too_large'],
    ['x_only', '', 'empty_answer'],
    ['x_only', ' \n', 'empty_answer'],
    ['x_only', '1.5', 'not_an_integer'],
    ['x_only', '1e3', 'not_an_integer'],
    ['x_only', '0x10', 'not_an_integer'],
    ['x_only', '+ 5', 'not_an_integer'],
    ['x_only', '--5', 'not_an_integer'],
    ['x_only', '−5', 'not_an_integer'],
    ['x_only', '٣', 'not_an_integer'],
    ['x_only', '[5]', 'not_an_integer'],
    ['x_only', 'dx = 5', 'not_an_integer'],
    ['x_y', '[1, 2)', 'not_an_integer'],
    ['x_y', '1, 2, 3', 'not_an_integer'],
    ['x_y', '1,, 2', 'not_an_integer'],
    ['x_y', '1 2', null],
    ['x_y', '1;2', 'not_an_integer'],
  ] as const)('%s: %j is %s', (task, text, error) => {
    const parsed = parseAnswer(`<answer>${text}</answer>`, task)
    expect(parsed.ok ? null : parsed.error).toBe(error)
  })

  test('reads −0 as 0', () => {
    expect(parseAnswer('<answer>-0</answer>', 'x_only')).toEqual({
      ok: true,
      text: '-0',
      answer: { kind: 'move', dx: 0, dy: 0 },
    })
  })

  test('accepts integers beyond the prompt’s range by default', () => {
    const strict = { reject_out_of_range: true }
    expect(parseAnswer('<answer>601</answer>', 'x_only').ok).toBe(true)
    expect(parseAnswer('<answer>601</answer>', 'x_only', strict)).toMatchObject({ error: 'out_of_prompt_range' })
    expect(parseAnswer('<answer>-600</answer>', 'x_only', strict).ok).toBe(true)
    expect(parseAnswer('<answer>0, -1</answer>', 'x_y', strict)).toMatchObject({ error: 'out_of_prompt_range' })
    expect(parseAnswer('<answer>600, 1000</answer>', 'x_y', strict).ok).toBe(true)
  })
})

test('anything at all is either an answer or unparseable for a listed reason', () => {
  const piece = fc.constantFrom('<answer>', '</answer>', 'yes', 'NO', '12', '-7', ',', ' ', '(', ']', '.', '+')
  const text = fc.oneof(
    fc.string(),
    fc.array(piece).map((pieces) => pieces.join('')),
  )
  fc.assert(
    fc.property(text, fc.constantFrom(...TASKS), (completion, task) => {
      const parsed = parseAnswer(completion, task)
      if (!parsed.ok) expect(PARSE_ERRORS).toContain(parsed.error)
    }),
    { numRuns: 500 },
  )
})
