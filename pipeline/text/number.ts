/** A number for people: whole with thousands separated, or with one decimal below 100. */
export function number(value: number): string {
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString('en-US') : value.toFixed(1)
}
