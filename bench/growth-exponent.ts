/** @throws RangeError unless there are two sizes or more, each larger than the one before. */
export function sizesOf(sizes: readonly number[]): readonly number[] {
  const grows = sizes.every((size, at) => Number.isSafeInteger(size) && size > (sizes[at - 1] ?? 0))
  if (sizes.length < 2 || !grows) throw new RangeError(`expected two sizes or more, each above the last, got ${sizes}`)
  return sizes
}

/** log(tᵢ₊₁ / tᵢ) / log(nᵢ₊₁ / nᵢ) of each step: 1 when twice the size takes twice the time. */
export function exponentsOf(sizes: readonly number[], times: readonly number[]): number[] {
  return sizes.slice(1).map((size, at) => {
    const [before, after] = [times[at] as number, times[at + 1] as number]
    return Math.log(after / before) / Math.log(size / (sizes[at] as number))
  })
}
