import { expect } from 'vitest'

export interface Sample {
  readonly name: string
  readonly labels: Record<string, string>
  readonly value: number
}

/**
 * Reads the OpenMetrics 1.0 text format as strictly as its ABNF: metadata before samples, families not interleaved,
 * each sample once, a counter's name in _total, a unit at the end of the name, `# EOF` and nothing after it.
 */
export function parseOpenMetrics(text: string): Sample[] {
  expect(text.endsWith('\n# EOF\n') || text === '# EOF\n').toBe(true)
  const families = new Map<string, { type?: string; unit?: string; help?: string; sampled: boolean }>()
  const samples: Sample[] = []
  const seen = new Set<string>()
  let current = ''
  for (const line of text.slice(0, -'# EOF\n'.length).split('\n').slice(0, -1)) {
    const metadata = /^# (TYPE|UNIT|HELP) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line)
    if (metadata !== null) {
      const [, kind = '', name = '', value = ''] = metadata
      if (name !== current) expect(families.has(name), `${name} is interleaved`).toBe(false)
      current = name
      const family = families.get(name) ?? { sampled: false }
      families.set(name, family)
      expect(family.sampled, `${line} after a sample`).toBe(false)
      const field = kind.toLowerCase() as 'type' | 'unit' | 'help'
      expect(family[field], `${line} twice`).toBeUndefined()
      family[field] = value
      if (kind === 'UNIT') expect(name.endsWith(`_${value}`), line).toBe(true)
      continue
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN|[+-]Inf)$/.exec(line)
    expect(sample, `not a line of the format: ${line}`).not.toBeNull()
    const [, name = '', set = '', value = ''] = sample as RegExpExecArray
    const family = families.get(current)
    expect(name, line).toBe(family?.type === 'counter' ? `${current}_total` : current)
    if (family !== undefined) family.sampled = true
    const labels: Record<string, string> = {}
    let rest = set
    while (rest !== '') {
      const [all = '', label = '', text = ''] =
        /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=.)|$)/.exec(rest) ?? []
      expect(all, `labels of ${line}`).not.toBe('')
      expect(label in labels, line).toBe(false)
      labels[label] = text.replaceAll(/\\(.)/g, (_, one) => (one === 'n' ? '\n' : one))
      rest = rest.slice(all.length)
    }
    const identity = JSON.stringify([name, Object.entries(labels).sort()])
    expect(seen.has(identity), `${line} twice`).toBe(false)
    seen.add(identity)
    if (family?.type === 'counter') expect(Number(value)).toBeGreaterThanOrEqual(0)
    samples.push({ name, labels, value: Number(value) })
  }
  for (const [name, { type }] of families) expect(['counter', 'gauge'], name).toContain(type)
  return samples
}
