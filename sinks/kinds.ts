import { jsonl } from './jsonl/jsonl-kind.ts'
import type { SinkKind } from './sink-kind.ts'

/** Every kind of sink that a run starts at a place of its own. A new one is a folder, and its name here. */
export const SINK_KINDS: readonly SinkKind[] = [
  jsonl, // docs/json-lines.md
]
