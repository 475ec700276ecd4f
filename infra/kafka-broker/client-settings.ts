import { join } from 'node:path'
import type { Cluster } from './cluster.ts'

export const certificateFile = (dir: string) => join(dir, 'tls', 'ca.pem')

export const bootstrapOf = ({ nodes }: Pick<Cluster, 'nodes'>) => nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')

export type ClientSettings = Readonly<Record<string, string>>

/** The environment with which Plumbline's own commands reach the broker. */
export function clientSettings(dir: string, cluster: Cluster): ClientSettings {
  const { users, tls } = cluster
  return {
    PLUMBLINE_LOG: `kafka://${bootstrapOf(cluster)}`,
    ...(users === null
      ? {}
      : {
          PLUMBLINE_KAFKA_SASL: 'scram-sha-512',
          PLUMBLINE_KAFKA_USERNAME: users.client.name,
          PLUMBLINE_KAFKA_PASSWORD: users.client.password,
        }),
    ...(tls === null ? {} : { PLUMBLINE_KAFKA_CA: certificateFile(dir) }),
  }
}
