import type { Log, Member } from '../../infra/log/port/log.ts'

/** A log whose members get their partitions, but no records before `open` is called. */
export interface GatedLog {
  readonly log: Log
  open(): void
}

export function gated(log: Log, partitions: number): GatedLog {
  let is_open = false
  const members = new Set<Member>()
  const watched = (member: Member): Member => {
    members.add(member)
    const { poll } = member
    member.poll = async (how) => {
      const polled = await poll.call(member, how)
      if (!is_open) member.pause(polled.gained)
      return polled
    }
    return member
  }
  return {
    log: new Proxy(log, {
      get(target, name) {
        const value = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        if (name !== 'join') return value.bind(target)
        return async (options: Parameters<Log['join']>[0]) => watched(await target.join(options))
      },
    }),
    open() {
      is_open = true
      for (const member of members) member.resume([...Array(partitions).keys()])
    },
  }
}
