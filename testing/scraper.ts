import { expect } from 'vitest'
import { eventually, type Place, type Running } from '../tests/cli/plumbline.ts'
import { type AlertRule, alertRules, firing, type Scrape } from './alert-rules.ts'
import { parseOpenMetrics, type Sample } from './open-metrics.ts'
import { commandsOf, typed } from './page-commands.ts'

const rule = (alert: string): AlertRule => {
  const found = alertRules().find((candidate) => candidate.alert === alert)
  if (found === undefined) throw new Error(`there is no alert ${alert}`)
  return found
}

/** Scrapes a run's metrics, as Prometheus does, and evaluates which alerts' expressions hold. */
export class Scraper {
  readonly url: string
  #scrapes: Scrape[] = []

  private constructor(url: string) {
    this.url = url
  }

  static async of(running: Running): Promise<Scraper> {
    const found = () => /metrics at (http:\/\/[\d.]+:\d+)\/metrics/.exec(running.stderr())?.[1]
    return new Scraper(
      await eventually(() => {
        if (running.child.exitCode !== null) throw new Error(running.stderr())
        return found()
      }, 90_000),
    )
  }

  /** Adds a sample `up` to each scrape, as Prometheus does. */
  async scrape(): Promise<Scrape> {
    const samples: Sample[] = []
    let up = 1
    try {
      const response = await fetch(`${this.url}/metrics`, { signal: AbortSignal.timeout(60_000) })
      expect(response.status).toBe(200)
      samples.push(...parseOpenMetrics(await response.text()))
    } catch (error) {
      if (!(error instanceof TypeError)) throw error
      up = 0
    }
    const scrape = {
      at_ms: performance.now(),
      samples: [...samples, { name: 'up', labels: { job: 'plumbline' }, value: up }],
    }
    this.#scrapes.push(scrape)
    return scrape
  }

  /** Starts a new window without the earlier scrapes. */
  forget(): void {
    this.#scrapes = []
  }

  /** The stages for which the expression of an alert holds now. */
  firing(alert: string): string[] {
    const found = firing(rule(alert), this.#scrapes).map((series) => {
      const labels = Object.fromEntries(JSON.parse(series) as [string, string][])
      return labels.stage ?? ''
    })
    return [...new Set(found)].sort()
  }

  /** Scrapes until the alert holds for these stages at least. */
  async until(alert: string, stages: readonly string[], patience_ms: number): Promise<void> {
    await eventually(async () => {
      await this.scrape()
      const now = this.firing(alert)
      if (!stages.every((stage) => now.includes(stage)))
        throw new Error(`${alert} holds for ${now.join() || 'nothing'}`)
      return true
    }, patience_ms)
  }

  async over(alert: string, patience_ms: number): Promise<void> {
    await eventually(async () => {
      await this.scrape()
      return this.firing(alert).length === 0
    }, patience_ms)
  }

  async valuesOf(metric: string, stage?: string): Promise<number[]> {
    const { samples } = await this.scrape()
    return samples
      .filter(({ name, labels }) => name === metric && (stage === undefined || labels.stage === stage))
      .map(({ value }) => value)
  }

  async lagOf(stage: string): Promise<number> {
    return (await this.valuesOf('plumbline_lag_messages', stage))[0] ?? Number.NaN
  }

  async isReady(): Promise<boolean> {
    return (await fetch(`${this.url}/readyz`)).status === 200
  }
}

/** Runs a page's commands, except those left out. Each must succeed. @returns their standard output */
export async function typePage(page: string, scraper: Scraper, place: Place, leave_out?: RegExp): Promise<string> {
  let printed = ''
  for (const line of await commandsOf(page)) {
    if (leave_out?.test(line)) continue
    const { code, stdout, stderr } = await typed(line, { ...place, metrics: scraper.url })
    expect(code, `${line}\n${stderr}`).toBe(0)
    printed += stdout
  }
  return printed
}
