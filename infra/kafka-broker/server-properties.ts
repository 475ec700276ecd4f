import type { Cluster, ClusterNode } from './cluster.ts'

/** Paths are relative to the node's folder, where it is started, so none needs escaping in Java's properties syntax. */
export const NODE_FILES = {
  properties: 'server.properties',
  data: 'data',
  client_keystore: '../tls/clients.p12',
  node_keystore: '../tls/nodes.p12',
  ca: '../tls/ca.pem',
} as const

/** Configuration of one node: broker and controller in one process, on the loopback address. */
export function serverProperties(cluster: Cluster, node: ClusterNode): string {
  const of = cluster.nodes.length
  const protocol = `${cluster.users === null ? '' : 'SASL_'}${cluster.tls === null ? 'PLAINTEXT' : 'SSL'}`
  const properties = {
    'process.roles': 'broker,controller',
    'node.id': node.id,
    // Voters in the configuration rather than in the log: a stopped cluster can then move to other ports.
    'controller.quorum.voters': cluster.nodes.map((one) => `${one.id}@127.0.0.1:${one.controller_port}`).join(','),
    listeners: `${brokerListeners(node)},CONTROLLER://127.0.0.1:${node.controller_port}`,
    'advertised.listeners': brokerListeners(node),
    'inter.broker.listener.name': 'NODES',
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': ['CLIENTS', 'NODES', 'CONTROLLER'].map((name) => `${name}:${protocol}`).join(','),
    'log.dirs': NODE_FILES.data,
    'auto.create.topics.enable': false,
    'default.replication.factor': of,
    'min.insync.replicas': Math.ceil(of / 2),
    ...internalTopics(of),
    ...FAST,
    ...(cluster.users === null ? {} : saslProperties(cluster.users)),
    ...(cluster.tls === null ? {} : tlsProperties(cluster.tls)),
  }
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

/** Nodes use a separate port among themselves, so that clients can be shown any certificate, e.g. an expired one. */
const brokerListeners = ({ port, node_port }: ClusterNode) =>
  `CLIENTS://127.0.0.1:${port},NODES://127.0.0.1:${node_port}`

/** Few partitions: they are quick to create and to take over, and one machine does not need fifty. */
function internalTopics(of: number) {
  const in_sync = Math.ceil(of / 2)
  return {
    'offsets.topic.replication.factor': of,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': of,
    'transaction.state.log.min.isr': in_sync,
    'transaction.state.log.num.partitions': 4,
    'share.coordinator.state.topic.replication.factor': of,
    'share.coordinator.state.topic.min.isr': in_sync,
    'share.coordinator.state.topic.num.partitions': 4,
  }
}

/** Settings for a single machine, which is smaller than a data centre and can detect failures sooner. */
const FAST = {
  'group.initial.rebalance.delay.ms': 0,
  'group.min.session.timeout.ms': 500,
  // A dead producer's transaction is aborted at most this long after its time-out; until then it blocks readers.
  'transaction.abort.timed.out.transaction.cleanup.interval.ms': 1_000,
  // After this time a dead node's partitions get another leader.
  'broker.session.timeout.ms': 4_000,
  'broker.heartbeat.interval.ms': 1_000,
  'num.network.threads': 2,
  'num.io.threads': 4,
  // The default of 128 MiB would be a quarter of the heap.
  'log.cleaner.dedupe.buffer.size': 16 * 1024 * 1024,
}

const PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required'
const SCRAM = 'org.apache.kafka.common.security.scram.ScramLoginModule required'

function saslProperties({ admin, client }: NonNullable<Cluster['users']>) {
  const plain = `${PLAIN} ${[
    `username="${admin.name}" password="${admin.password}"`,
    ...[admin, client].map(({ name, password }) => `user_${name}="${password}"`),
  ].join(' ')};`
  return {
    'sasl.mechanism.inter.broker.protocol': 'PLAIN',
    'sasl.mechanism.controller.protocol': 'PLAIN',
    'listener.name.clients.sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-512',
    'listener.name.clients.scram-sha-512.sasl.jaas.config': `${SCRAM};`,
    'listener.name.clients.plain.sasl.jaas.config': plain,
    'listener.name.nodes.sasl.enabled.mechanisms': 'PLAIN',
    'listener.name.nodes.plain.sasl.jaas.config': plain,
    'listener.name.controller.sasl.enabled.mechanisms': 'PLAIN',
    'listener.name.controller.plain.sasl.jaas.config': plain,
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': `User:${admin.name}`,
    // A logged-in user has every right that no rule covers; tests deny a topic by adding a rule.
    'allow.everyone.if.no.acl.found': true,
  }
}

function tlsProperties({ keystore_password }: NonNullable<Cluster['tls']>) {
  const keystore = (listener: string, file: string) => ({
    [`listener.name.${listener}.ssl.keystore.type`]: 'PKCS12',
    [`listener.name.${listener}.ssl.keystore.location`]: file,
    [`listener.name.${listener}.ssl.keystore.password`]: keystore_password,
    [`listener.name.${listener}.ssl.key.password`]: keystore_password,
  })
  return {
    ...keystore('clients', NODE_FILES.client_keystore),
    ...keystore('nodes', NODE_FILES.node_keystore),
    ...keystore('controller', NODE_FILES.node_keystore),
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': NODE_FILES.ca,
  }
}
