/** Keeps its thread busy. @param ms of processor time @returns how often it looked at the clock */
export function spin(ms: number): number {
  const { user, system } = process.threadCpuUsage()
  const until_us = user + system + ms * 1_000
  for (let looks = 1; ; looks++) {
    const now = process.threadCpuUsage()
    if (now.user + now.system >= until_us) return looks
  }
}
