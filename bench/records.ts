import { randomBytes } from 'node:crypto'
import type { NewRecord } from '../infra/log/port/log.ts'

/** Records with the headers that an event of the tower loop has, and `bytes` of value. */
export function recordsOf(count: number, bytes: number): NewRecord[] {
  return Array.from({ length: count }, () => {
    const id = () => randomBytes(16).toString('hex')
    const key = id()
    const headers = {
      ce_specversion: '1.0',
      ce_id: id(),
      ce_source: '/processors/score-completions',
      ce_type: 'tower.completions_scored',
      ce_time: '2026-01-01T00:00:00.000Z',
      ce_subject: key,
      ce_dataschema: 'plumbline:tower.completions_scored/1/0123456789abcdef',
      ce_partitionkey: key,
      ce_clock: 'virtual',
      'content-type': 'application/vnd.apache.arrow.stream',
      ce_causationid: `${id()},${id()}`,
      ce_correlationid: key,
    }
    return {
      key,
      headers: Object.entries(headers).map(([name, value]) => ({ name, value })),
      value: randomBytes(bytes),
    }
  })
}
