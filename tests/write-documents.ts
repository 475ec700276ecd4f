import { writeDocuments } from './generated-parts.ts'

/** npm run docs */
const changed = await writeDocuments()
process.stdout.write(changed.length === 0 ? 'every document is up to date\n' : `written: ${changed.join(', ')}\n`)
