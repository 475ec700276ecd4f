import { existsSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { Artifacts } from './artifacts.ts'
import { type ClusterNode, newCluster } from './cluster.ts'
import { withFileLock } from './file-lock.ts'
import type { Java } from './java.ts'
import { pidOf, spawnNode, stopNode } from './node-process.ts'
import { nodePorts } from './ports.ts'
import { formatStorage, loggingOption, writeConfiguration } from './storage.ts'
import { askNode } from './wire.ts'

const PATIENCE_MS = 180_000

/**
 * Options with which Java maps Kafka's classes into memory instead of loading and verifying them one by one: a node
 * then starts with 4.5 s of processor time instead of 7.5 s. The archive is stored in the cache and made once, by a
 * broker that starts and stops in a temporary folder. Java itself checks that it fits, and ignores it if it does not.
 */
export async function classArchive(
  java: Java,
  artifacts: Artifacts,
  say: (line: string) => void = () => {},
): Promise<readonly string[]> {
  const file = join(artifacts.dir, `classes-${java.version.replaceAll(/[^\w.+-]/g, '_')}.jsa`)
  if (!existsSync(file)) {
    await withFileLock(
      `${file}.lock`,
      async () => {
        if (existsSync(file)) return
        say('preparing Apache Kafka for quick starts (once)')
        await train(file, java, artifacts)
      },
      () => say('waiting for another process that prepares Apache Kafka for quick starts'),
    )
  }
  return statSync(file).size > 0 ? [`-XX:SharedArchiveFile=${file}`] : []
}

async function train(file: string, java: Java, artifacts: Artifacts): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'plumbline-kafka-classes-'))
  const arriving = `${file}.arriving`
  try {
    const { ids, ...rest } = newCluster({ nodes: 1, sasl: false, tls: false })
    const nodes = await nodePorts(ids)
    const [node] = nodes as [ClusterNode]
    const cluster = { ...rest, nodes }
    writeConfiguration(dir, cluster, node)
    await formatStorage(dir, cluster, node, { java, artifacts, java_options: [] })
    const options = [`-XX:ArchiveClassesAtExit=${arriving}`, '-Xmx256m', '-XX:+UseSerialGC', loggingOption]
    spawnNode(dir, node.id, { java: java.java, options, classpath: artifacts.classpath })
    for (const deadline = performance.now() + PATIENCE_MS; ; ) {
      const answers = await askNode({ port: node.port }, 2_000).catch(() => undefined)
      if (answers !== undefined || performance.now() > deadline || pidOf(dir, node.id) === undefined) break
      await wait(200)
    }
    // Java writes the archive when it exits.
    await stopNode(dir, node.id, PATIENCE_MS)
    // If Java made none, an empty file records that, so that it is not tried again.
    if (!existsSync(arriving)) writeFileSync(arriving, '')
    renameSync(arriving, file)
  } finally {
    rmSync(arriving, { force: true })
    rmSync(dir, { recursive: true, force: true })
  }
}
