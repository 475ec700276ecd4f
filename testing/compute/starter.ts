/** A program that starts a process for kernels, prints its id, and runs one there that never ends. */
import { KernelProcesses } from '../../infra/compute/processes.ts'
import { endless, pidOf } from './kernels.ts'

const processes = new KernelProcesses(1, 2 ** 30, { calls: 1, bytes: 2 ** 20 })
const how = { signal: new AbortController().signal }
process.stdout.write(`${await processes.run(pidOf as never, null, how)}\n`)
setTimeout(() => process.stdout.write('spinning\n'), 1_000)
await processes.run(endless('process') as never, new Int32Array(1), how)
