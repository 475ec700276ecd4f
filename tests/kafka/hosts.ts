import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { fileURLToPath } from 'node:url'

/** A separate host as far as the network goes: a namespace, joined to this one by a cable that can be cut. */
export class Host {
  readonly name: string
  readonly #cable: string
  readonly #servers: Server[] = []
  #relay: ChildProcess | undefined

  private constructor(name: string, cable: string) {
    this.name = name
    this.#cable = cable
  }

  /**
   * Services on these loopback ports here can be reached on the same ports there, and only through the cable: a relay
   * at each end forwards connections.
   *
   * @param number from 1 to 63, different for each host
   */
  static async make(number: number, ports: readonly number[]): Promise<Host> {
    const name = `plumbline-${process.pid}-${number}`
    const [here, there] = [`pl${process.pid % 100_000}h${number}`, `pl${process.pid % 100_000}t${number}`]
    const [near, far] = [`10.213.77.${4 * number + 1}`, `10.213.77.${4 * number + 2}`]
    const host = new Host(name, here)
    ip('netns', 'add', name)
    try {
      ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', name)
      ip('addr', 'add', `${near}/30`, 'dev', here)
      ip('link', 'set', here, 'up')
      ip('-n', name, 'addr', 'add', `${far}/30`, 'dev', there)
      ip('-n', name, 'link', 'set', there, 'up')
      ip('-n', name, 'link', 'set', 'lo', 'up')
      for (const port of ports) host.#servers.push(await relay({ host: near, port }, { host: '127.0.0.1', port }))
      await host.#startRelay(near, ports)
      return host
    } catch (error) {
      await host.remove()
      throw error
    }
  }

  async #startRelay(near: string, ports: readonly number[]): Promise<void> {
    const [program = '', ...before] = this.within
    const file = fileURLToPath(import.meta.url)
    const child = spawn(program, [...before, process.execPath, file, near, ...ports.map(String)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#relay = child
    await once(child.stdout, 'data')
  }

  /** The command prefix that starts a program on this host. */
  get within(): readonly string[] {
    return ['ip', 'netns', 'exec', this.name]
  }

  /** Stops all traffic; neither end is notified. */
  cut(): void {
    ip('link', 'set', this.#cable, 'down')
  }

  mend(): void {
    ip('link', 'set', this.#cable, 'up')
  }

  /** The answer of an HTTP server on this host. */
  get(url: string): string {
    const [program = '', ...before] = this.within
    const code = `process.stdout.write(await (await fetch(${JSON.stringify(url)})).text())`
    return execFileSync(program, [...before, process.execPath, '--input-type=module', '-e', code], {
      encoding: 'utf8',
      timeout: 30_000,
    })
  }

  async remove(): Promise<void> {
    if (this.#relay !== undefined && this.#relay.exitCode === null) {
      this.#relay.kill('SIGKILL')
      await once(this.#relay, 'close')
    }
    for (const server of this.#servers) server.close()
    // Deleting the namespace also deletes the cable.
    spawnSync('ip', ['netns', 'del', this.name])
  }
}

/** Why there can be no hosts on this machine; undefined when there can. */
export function whyNoHosts(): string | undefined {
  const probe = `plumbline-${process.pid}-0`
  const { error, status, stderr } = spawnSync('ip', ['netns', 'add', probe], { encoding: 'utf8' })
  if (error !== undefined) return 'there is no ip command: install iproute2'
  if (status !== 0) return `network namespaces are refused here: ${stderr.trim()}`
  spawnSync('ip', ['netns', 'del', probe])
  return undefined
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}

interface Address {
  readonly host: string
  readonly port: number
}

async function relay(from: Address, to: Address): Promise<Server> {
  const server = createServer((near) => {
    const far = connect(to)
    near.pipe(far).pipe(near)
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
  })
  server.listen(from.port, from.host)
  await once(server, 'listening')
  return server
}

// The far end of the cable: `node hosts.ts NEAR PORT…` forwards connections to its own loopback ports.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [near = '', ...ports] = process.argv.slice(2)
  for (const port of ports.map(Number)) await relay({ host: '127.0.0.1', port }, { host: near, port })
  process.stdout.write('ready\n')
}
