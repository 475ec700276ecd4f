/**
 * Rewrites `sql-vocabulary.golden.txt` from what the pinned DuckDB lists, and keeps the classification. New names are
 * listed under `unclassified`: move each to a section that says why it is allowed or refused.
 *
 *   node guard.mjs --exec sinks/duckdb/write-vocabulary.ts
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { sectionsOf, VOCABULARY_FILE } from './sql-vocabulary.ts'
import { listedNames, vocabularyText } from './vocabulary-text.ts'

const text = vocabularyText(await listedNames(), sectionsOf(readFileSync(VOCABULARY_FILE, 'utf8')))
writeFileSync(VOCABULARY_FILE, text)
const unclassified = text.split('\n').filter((line) => line.startsWith('# unclassified')).length
process.stdout.write(
  unclassified === 0 ? 'every name is classified\n' : 'classify what stands under "# unclassified …"\n',
)
