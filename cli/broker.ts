import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { type BrokerStatus, brokerStatus } from '../infra/kafka-broker/broker-status.ts'
import type { ClientSettings } from '../infra/kafka-broker/client-settings.ts'
import { startBroker, stopBroker } from '../infra/kafka-broker/local-broker.ts'
import { makeDataFolder, openedBefore } from '../pipeline/data-folder.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { globals } from './options.ts'

interface StartOptions {
  nodes?: 1 | 3
  sasl?: true
  tls?: true
  heap?: string
}

const brokerFolder = (data: string) => join(resolve(data), 'kafka')

export function addBroker(broker: Command): void {
  broker
    .command('start')
    .description('start the nodes that are not running and print their address; they run until `broker stop`')
    .option('--nodes <count>', '1, or 3 for a real cluster (default: the existing number, or 1)', nodeCount)
    .option('--sasl', 'clients must log in (PLAIN or SCRAM-SHA-512)')
    .option('--tls', 'encrypt connections, with its own certificate authority')
    .option('--heap <size>', 'heap of each node, in the form of Java’s -Xmx (default: 512m)', heapSize)
    .addHelpText(
      'after',
      '\nData, logs and certificates are stored in the data folder, under kafka/. It listens on 127.0.0.1 only.\n' +
        '\nExample:\n  ./plumbline broker start --nodes 3\n',
    )
    .action(async (options: StartOptions, command: Command) => {
      const { data, json } = globals(command)
      makeDataFolder({ data })
      const say = (line: string) => process.stderr.write(`plumbline: ${line}\n`)
      const { dir, started, settings, admin, nodes } = await startBroker({ dir: brokerFolder(data), say, ...options })
      if (json) {
        process.stdout.write(`${JSON.stringify({ dir, started, settings, admin: admin ?? null, nodes })}\n`)
        return
      }
      const all = nodes.length === 1 ? 'the broker' : `${nodes.length} nodes`
      process.stdout.write(
        `${
          started.length === 0
            ? `${all} ran already`
            : started.length < nodes.length
              ? `node ${started.join(' and ')} of ${nodes.length} started; the others ran already`
              : `${all} started`
        }: ${nodes.map(({ port }) => `127.0.0.1:${port}`).join(', ')}\n\n`,
      )
      process.stdout.write(settingsText(settings))
    })

  broker
    .command('stop')
    .description('stop it; its data is kept for the next start')
    .action(async (_options: object, command: Command) => {
      const { data, json } = globals(command)
      openedBefore({ data })
      const stopped = await stopBroker(brokerFolder(data))
      const text =
        stopped === 0 ? 'no broker ran' : stopped === 1 ? 'the broker was stopped' : `${stopped} nodes were stopped`
      process.stdout.write(json ? `${JSON.stringify({ stopped })}\n` : `${text}\n`)
    })

  broker
    .command('status')
    .description('the address and state of each node; exit code 1 unless all respond')
    .action(async (_options: object, command: Command) => {
      const { data, json } = globals(command)
      openedBefore({ data })
      const status = await brokerStatus(brokerFolder(data))
      if (status === undefined || status.nodes.some(({ answers }) => answers !== true)) process.exitCode = 1
      if (json) process.stdout.write(`${JSON.stringify(status ?? { nodes: [] })}\n`)
      else if (status === undefined)
        process.stdout.write('no broker was made in this data folder: ./plumbline broker start\n')
      else process.stdout.write(statusText(status))
    })
}

function nodeCount(text: string): 1 | 3 {
  if (text === '1' || text === '3') return Number(text) as 1 | 3
  throw new UsageError(`--nodes ${text}: expected 1 or 3`, 'two nodes would stop when either of them does')
}

function heapSize(text: string): string {
  if (/^\d+[mMgG]$/.test(text)) return text
  throw new UsageError(`--heap ${text}: expected a number of megabytes or gigabytes`, 'e.g. --heap 512m')
}

/** Lines to paste into a shell. */
function settingsText(settings: ClientSettings): string {
  return Object.entries(settings)
    .map(
      ([name, value]) =>
        `export ${name}=${/^[\w./:,@-]*$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`}\n`,
    )
    .join('')
}

function statusText({ nodes, leader, settings, dir }: BrokerStatus): string {
  const lines = nodes.map(({ id, address, pid, answers }) => {
    const process_id = pid === undefined ? '' : `  process ${pid}`
    return `node ${id}  ${address}${process_id}  ${answers === true ? 'answers' : answers}${id === leader ? ', leads' : ''}\n`
  })
  return `${lines.join('')}\nlogs: ${join(dir, 'node-*', 'server.log')}\n${settingsText(settings)}`
}
