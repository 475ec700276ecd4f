import type { Report } from './report.ts'

export const FUNNEL_SQL = 'select fate, completions, about from funnel'
export const FUNNEL_CHECK_SQL = 'from funnel_check'

export const funnelReport: Report = {
  name: 'funnel',
  about: 'what became of every sampled completion',
  questions: [FUNNEL_SQL, FUNNEL_CHECK_SQL],
}
