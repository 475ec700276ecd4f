import { createRequire } from 'node:module'

/**
 * Makes text from outside (a model, a producer, a file) safe to show on a terminal. Characters that a terminal acts on
 * or that reorder text are escaped: C0 and C1 controls, DEL, line and paragraph separators, and Unicode's
 * bidirectional controls. `--json` and CSV have their own formats and do not use this.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g
const NAMED: Readonly<Record<string, string>> = { '\t': '\\t', '\r': '\\r', '\x1b': '\\e' }

/** Keeps line feeds, for messages of several lines. */
export function printable(text: string): string {
  return text.replaceAll(CONTROL, (control) => NAMED[control] ?? codeOf(control))
}

/** As one line, for cells and values. */
export function printableLine(text: string): string {
  return printable(text.replaceAll(/\r?\n/g, '⏎'))
}

function codeOf(control: string): string {
  const code = control.charCodeAt(0)
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`
}

const PLAIN = /^[\x20-\x7e]*$/
let stringWidth: typeof import('string-width').default | undefined

/** Width in terminal columns: wide characters take two, combining ones none, an emoji sequence two. */
export function widthOf(text: string): number {
  if (PLAIN.test(text)) return text.length
  // Loaded when needed: its expressions take longer to compile than most commands run, and most print only ASCII.
  stringWidth ??= (createRequire(import.meta.url)('string-width') as typeof import('string-width')).default
  return stringWidth(text)
}

const GRAPHEMES = new Intl.Segmenter('en', { granularity: 'grapheme' })

/** As one line of at most `most` columns; an ellipsis replaces what is cut off. */
export function shortened(text: string, most: number): string {
  // A longer text is cut anyway and need not be measured whole.
  const line = printableLine(text.slice(0, 8 * most + 8))
  if (text.length <= 8 * most + 8 && widthOf(line) <= most) return line
  let kept = ''
  let width = 0
  for (const { segment } of GRAPHEMES.segment(line)) {
    width += widthOf(segment)
    if (width > most - 1) break
    kept += segment
  }
  return `${kept}…`
}
