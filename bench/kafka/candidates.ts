import { fileURLToPath } from 'node:url'
import { type Command, javaCommand, pythonCommand } from './toolchains.ts'

export interface Candidate {
  readonly name: string
  readonly what: string
  /** What it reads: the plain messages, or the same as events. */
  readonly input: 'messages' | 'events'
  /** Least ratio of our messages per second to its own. */
  readonly goal?: number
  command(say: (line: string) => void): Promise<Command>
}

export const OURS = 'plumbline'

const WORKER = fileURLToPath(new URL('./group-rewards-worker.ts', import.meta.url))
const PROFILE = process.env.BENCH_PROFILE

/** The programs that do the peers' job. */
export const CANDIDATES: readonly Candidate[] = [
  {
    name: OURS,
    what: 'Plumbline',
    input: 'events',
    command: async () => ({
      program: process.execPath,
      args: [
        // The flags of `npm run bench:kafka`, which are those of `./plumbline`.
        ...process.execArgv,
        ...(PROFILE ? ['--cpu-prof', `--cpu-prof-dir=${PROFILE}`] : []),
        WORKER,
      ],
    }),
  },
  {
    name: 'kafka-streams',
    what: 'Kafka Streams, exactly-once-v2, RocksDB',
    input: 'messages',
    goal: 2,
    command: (say) => javaCommand('kafka-streams', say),
  },
  {
    name: 'flink',
    what: 'Apache Flink 2, exactly once, RocksDB',
    input: 'messages',
    command: (say) => javaCommand('flink', say),
  },
  {
    name: 'bytewax',
    what: 'Bytewax with recovery',
    input: 'messages',
    goal: 1.2,
    command: (say) => pythonCommand('bytewax', say),
  },
  {
    name: 'quix',
    what: 'Quix Streams, exactly once',
    input: 'messages',
    goal: 15,
    command: (say) => pythonCommand('quix', say),
  },
  {
    name: 'confluent',
    what: 'confluent-kafka in a loop written by hand, no state recovery',
    input: 'messages',
    goal: 0.6,
    command: (say) => pythonCommand('confluent', say),
  },
]
