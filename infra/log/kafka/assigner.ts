import { balanced, EMPTY_GROUP, type GroupState } from '../port/group.ts'
import { MemberAssignment, MemberMetadata } from './kafkajs.ts'

/** A member's report to the group leader, which assigns: the partitions it owned, and in which generation. */
interface Owned {
  readonly generation: number
  readonly partitions: readonly number[]
}

/** Member metadata in Kafka's own format, so that any tool can read it. */
export function encodeMember(topics: readonly string[], owned: Owned): Buffer {
  return MemberMetadata.encode({ version: 0, topics, userData: Buffer.from(JSON.stringify(owned)) })
}

export function topicsOfMember(metadata: Buffer): readonly string[] {
  return metadata.length === 0 ? [] : MemberMetadata.decode(metadata).topics
}

/** Assigns partition p of every topic to one member; an owner keeps p as far as even shares allow. */
export function assign(
  members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[],
  topics: readonly string[],
  partitions: number,
): { memberId: string; memberAssignment: Buffer }[] {
  const owners: { member: string | null; epoch: number }[] = Array.from({ length: partitions }, () => ({
    member: null,
    epoch: -1,
  }))
  for (const { memberId, memberMetadata } of members) {
    const { generation, partitions: held } = ownedBy(memberMetadata)
    for (const partition of held) {
      // If two members report one partition, the one with the earlier generation is a former owner.
      if ((owners[partition]?.epoch ?? Number.POSITIVE_INFINITY) < generation)
        owners[partition] = { member: memberId, epoch: generation }
    }
  }
  const lease = { until_ms: 0, session_timeout_ms: 0 }
  const state: GroupState = {
    ...EMPTY_GROUP,
    members: Object.fromEntries(members.map(({ memberId }) => [memberId, lease])),
    owners,
  }
  const after = balanced(state).owners
  return members.map(({ memberId }) => {
    const own = [...after.keys()].filter((partition) => after[partition]?.member === memberId)
    const assignment = Object.fromEntries(topics.map((topic) => [topic, own]))
    return { memberId, memberAssignment: MemberAssignment.encode({ version: 0, assignment }) }
  })
}

function ownedBy(metadata: Buffer): Owned {
  const { generation, partitions } = JSON.parse(
    MemberMetadata.decode(metadata).userData.toString() || '{}',
  ) as Partial<Owned>
  return { generation: generation ?? -1, partitions: partitions ?? [] }
}

export function assignedTo(assignment: Buffer, topic: string): readonly number[] {
  if (assignment.length === 0) return []
  return [...(MemberAssignment.decode(assignment)?.assignment[topic] ?? [])].sort((a, b) => a - b)
}
