import type { Command } from 'commander'
import { wiringOf } from '../pipeline/wiring.ts'
import { asJson, asMermaid, asText } from '../streams/describe.ts'
import { DEFAULTS } from '../streams/topology.ts'
import { globals } from './options.ts'

export function addTopology(program: Command): void {
  program
    .command('topology')
    .description('what flows where: sources, processors, sinks and the events between them')
    .option('--policy <policy>', 'as for run', DEFAULTS.policy)
    .option('--mermaid', 'as a Mermaid flow chart', false)
    .action(async (options: { policy: string; mermaid: boolean }, command: Command) => {
      const { json, partitions = DEFAULTS.partitions } = globals(command)
      const wiring = await wiringOf({ policy: options.policy, partitions })
      const text = json ? JSON.stringify(asJson(wiring)) : options.mermaid ? asMermaid(wiring) : asText(wiring)
      process.stdout.write(`${text}\n`)
    })
}
