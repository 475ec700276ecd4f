const DAY_S = 86_400n

/** `2026-01-31T12:00:00.123Z`: three decimals, or six or nine when the value has them. Any year that DuckDB can hold. */
export function isoInstant(units: bigint, unitsPerSecond: bigint): string {
  const seconds = floorDivided(units, unitsPerSecond)
  const nanos = ((units - seconds * unitsPerSecond) * 1_000_000_000n) / unitsPerSecond
  const days = floorDivided(seconds, DAY_S)
  const { year, month, day } = civil(Number(days))
  const second = Number(seconds - days * DAY_S)
  const digits = String(nanos).padStart(9, '0')
  const shown = digits.endsWith('000000') ? digits.slice(0, 3) : digits.endsWith('000') ? digits.slice(0, 6) : digits
  const time = [Math.floor(second / 3_600), Math.floor(second / 60) % 60, second % 60].map(two).join(':')
  return `${isoYear(year)}-${two(month)}-${two(day)}T${time}.${shown}Z`
}

/** `2026-01-31`, as DuckDB writes a date: `0044-03-15 (BC)` before year 1. */
export function civilDate(days: number): string {
  const { year, month, day } = civil(days)
  const shown = String(year > 0 ? year : 1 - year).padStart(4, '0')
  return `${shown}-${two(month)}-${two(day)}${year > 0 ? '' : ' (BC)'}`
}

const two = (value: number) => String(value).padStart(2, '0')

/** ISO 8601: years of four digits, others with a sign and six, as JavaScript writes them. */
const isoYear = (year: number) =>
  year >= 0 && year <= 9_999
    ? String(year).padStart(4, '0')
    : `${year < 0 ? '-' : '+'}${String(Math.abs(year)).padStart(6, '0')}`

function floorDivided(value: bigint, by: bigint): bigint {
  const quotient = value / by
  return value % by < 0n ? quotient - 1n : quotient
}

/**
 * The proleptic Gregorian date of a day since 1970-01-01: Howard Hinnant, "chrono-compatible low-level date algorithms",
 * civil_from_days. JavaScript's own dates end after 275,760 years, DuckDB's after five million.
 */
function civil(days: number): { readonly year: number; readonly month: number; readonly day: number } {
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  return {
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1,
  }
}
