import type { SinkKind } from '../sink-kind.ts'

export const jsonl: SinkKind = {
  name: 'jsonl',
  place: 'folder',
  about: 'write every event as a line of JSON to this folder, one file per event type',
  open: async (dir, opening) => (await import('./jsonl-sink.ts')).openJsonlSink({ ...opening, dir }),
  positions: async (dir) => (await (await import('./positions-file.ts')).readStored(dir))?.positions,
  unreadable: async (dir) => (await import('./jsonl-sink.ts')).unreadableIn(dir),
}
