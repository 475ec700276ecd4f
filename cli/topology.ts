import type { Command } from 'commander'
import { wiringOf } from '../pipeline/wiring.ts'
import { asJson, asMermaid, asText } from '../streams/describe.ts'
import { DEFAULTS } from '../streams/topology.ts'
import { globals } from './options.ts'

export function addTopology(command: Command): void {
  command
    .option('--policy <policy>', 'see run', DEFAULTS.policy)
    .option('--mermaid', 'print a Mermaid flow chart', false)
    .action(async (options: { policy: string; mermaid: boolean }, command: Command) => {
      const { json, partitions = DEFAULTS.partitions } = globals(command)
      const wiring = await wiringOf({ policy: options.policy, partitions })
      const text = json ? JSON.stringify(asJson(wiring)) : options.mermaid ? asMermaid(wiring) : asText(wiring)
      process.stdout.write(`${text}\n`)
    })
}
