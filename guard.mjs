/**
 * Runs first for every command: installs the locked packages when the lock files have changed, then runs the program on
 * the pinned Node. Plain JavaScript for any Node from 20 on, because nothing is installed when it starts.
 *
 *   node guard.mjs COMMAND …    the command line (cli/main.ts), from a bundle (see bundle/program-file.mjs)
 *   node guard.mjs --check      lint, types, import directions and the tests, as `npm test` does; with CI set in the
 *                               environment also the long ones, those against real brokers, if Java and Maven are
 *                               installed, and those with torch and TRL, if there is room to install them; with words
 *                               after it, the tests whose file names contain one of them
 *   node guard.mjs --check-kafka  the tests against real brokers alone, as `npm run test:kafka` does
 *   node guard.mjs --check-trl    the tests with torch and TRL alone, as `npm run test:trl` does, which installs them
 *   node guard.mjs --exec FILE …  any TypeScript file of this repository, e.g. a benchmark
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(fileURLToPath(import.meta.url))
const at = (...parts) => join(root, ...parts)
const NODE = at('node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node')
const UV_VERSION = '0.13.9'
// On a host with much memory the young generation grows to 128 MiB in every thread, mostly uncollected garbage. With a
// quarter of that, a worker with a backlog is not measurably slower (docs/performance.md).
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=16']
const CRASHES = ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT', 'SIGTRAP']
const INTERRUPTS = ['SIGINT', 'SIGTERM', 'SIGHUP']
/** The packages with torch and their downloads, with room for the tests. */
const TRL_GIB = 15
const FAILED_TESTS = at('.guard', `failed-tests-${process.pid}`)

if (Number(process.versions.node.split('.')[0]) < 20) {
  stop(`Plumbline needs Node 20 or newer to start (it then runs on the Node it installs); this is ${process.version}.`)
}

const [first, ...rest] = process.argv.slice(2)
await installNode()
if (first === '--check') {
  await installPython()
  process.exit(await check())
}
if (first === '--check-kafka') {
  await installPython()
  process.exit(runAll([stepAgainstBrokers(rest)]))
}
if (first === '--check-trl') {
  await installPython('.venv-trl', 'python/requirements-trl.txt')
  process.exit(runAll([stepWithTrl(rest)]))
}
const args = first === '--exec' ? rest : process.argv.slice(2)
const file = first === '--exec' ? rest.shift() : await programToStart()
runForeground(pinnedNode(), [...NODE_FLAGS, file, ...args])

/** A running program may load more of its bundle at any time, so the bundle stays marked as used. */
async function programToStart() {
  const { programFile, stillUsed } = await import('./bundle/program-file.mjs')
  const main = programFile(args, { node: pinnedNode(), say })
  setInterval(() => stillUsed(main), 3_600_000).unref()
  return main
}

/** Runs `npm ci` when package-lock.json differs from the one that was installed. */
async function installNode() {
  await once('node_modules', ['package-lock.json', 'package.json'], () => {
    say('installing the packages that package-lock.json names (once)')
    // It downloads code for NVIDIA cards otherwise, which nothing here uses.
    process.env.ONNXRUNTIME_NODE_INSTALL = 'skip'
    command('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
  })
}

/** Makes a Python environment from a lock file, with uv from the package index if the host has none. */
async function installPython(folder = '.venv', lock = 'python/requirements.txt') {
  await once(folder, [lock], () => {
    say(`installing the Python packages that ${lock} names (once)`)
    let uv = 'uv'
    if (spawnSync('uv', ['--version']).status !== 0) {
      command('python3', ['-m', 'venv', at('.guard', 'uv')])
      command(at('.guard', 'uv', 'bin', 'python'), [
        '-m',
        'pip',
        'install',
        '--quiet',
        '--disable-pip-version-check',
        `uv==${UV_VERSION}`,
      ])
      uv = at('.guard', 'uv', 'bin', 'uv')
    }
    command(uv, ['venv', '--quiet', '--allow-existing', '--python', '3.11', at(folder)])
    command(uv, ['pip', 'sync', '--quiet', '--require-hashes', '--python', at(folder, 'bin', 'python'), at(lock)])
  })
}

/** Runs `install` when the locks differ from those it last ran for; one process at a time, others wait for it. */
async function once(folder, locks, install) {
  const wanted = createHash('sha256')
    .update(locks.map((lock) => readFileSync(at(lock))).join('\n'))
    .digest('hex')
  const stamp = at(folder, '.plumbline-installed')
  const done = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted
  if (done()) return
  const mutex = at('.guard', `${folder.replaceAll('.', '')}.installing`)
  mkdirSync(dirname(mutex), { recursive: true })
  for (let told = false; ; told = true) {
    try {
      writeFileSync(mutex, `${process.pid}@${hostname()}`, { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
      if (isLeftBehind(mutex)) rmSync(mutex, { recursive: true, force: true })
      if (!told) say(`waiting for another process that installs ${folder}`)
      await new Promise((resolve) => setTimeout(resolve, 500))
      if (done()) return
    }
  }
  // Release the lock however this process ends: with a message, or by Ctrl-C, which the installer gets as well.
  const release = () => rmSync(mutex, { force: true })
  const interrupted = () => process.exit(130)
  process.on('exit', release)
  for (const signal of INTERRUPTS) process.on(signal, interrupted)
  if (!done()) {
    install()
    writeFileSync(stamp, wanted)
  }
  for (const signal of INTERRUPTS) process.off(signal, interrupted)
  process.off('exit', release)
  release()
}

/** Whether the lock's owner is gone: an ended process of this host, or a lock older than 15 minutes. */
function isLeftBehind(mutex) {
  try {
    if (Date.now() - statSync(mutex).mtimeMs > 15 * 60_000) return true
    const [pid, host] = readFileSync(mutex, 'utf8').split('@')
    if (host !== hostname()) return false
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return error.code === 'ESRCH'
  }
}

/** Runs every check. The tests are last, so that the test runner's own lines end the output. */
async function check() {
  const node = pinnedNode()
  const steps = [
    ['lint and format', at('node_modules', '.bin', 'biome'), ['check', '--error-on-warnings', '.']],
    ['types', at('node_modules', '.bin', 'tsc'), ['--noEmit', '-p', root]],
    [
      'import directions',
      node,
      [
        at('node_modules', 'dependency-cruiser', 'bin', 'dependency-cruiser.mjs'),
        '--config',
        at('.dependency-cruiser.mjs'),
        '.',
      ],
    ],
    ['tests', node, [at('node_modules', 'vitest', 'vitest.mjs'), 'run', ...rest]],
  ]
  if (process.env.CI || rest.length > 0) process.env.PLUMBLINE_LONG_TESTS = 'yes'
  else say('the long tests are left out: npm test -- .long. runs them, CI=true npm test runs everything')
  if (process.env.CI && rest.length === 0) {
    const missing = ['java', 'mvn'].filter((tool) => spawnSync(tool, ['-version']).error !== undefined)
    if (missing.length === 0) steps.push(stepAgainstBrokers([]))
    else say(`tests against real brokers are left out: there is no ${missing.join(' and no ')} here`)
    const { bavail, bsize } = statfsSync(root)
    const room_gib = (bavail * bsize) / 2 ** 30
    if (existsSync(at('.venv-trl', '.plumbline-installed')) || room_gib >= TRL_GIB) {
      await installPython('.venv-trl', 'python/requirements-trl.txt')
      steps.push(stepWithTrl([]))
    } else {
      say(`tests with torch and TRL are left out: they need ${TRL_GIB} GiB, and ${Math.floor(room_gib)} GiB are free`)
    }
  }
  return runAll(steps)
}

/**
 * Runs every step, also after one failed, so that one run reports everything. Failed tests are listed again at the end,
 * because those of the first of two test runs have scrolled away by then.
 */
function runAll(steps) {
  mkdirSync(dirname(FAILED_TESTS), { recursive: true })
  const failed = steps.filter((step) => !run(step)).map(([name]) => name)
  if (existsSync(FAILED_TESTS)) process.stderr.write(readFileSync(FAILED_TESTS, 'utf8'))
  rmSync(FAILED_TESTS, { force: true })
  if (failed.length > 0) say(`FAILED: ${failed.join(', ')}`)
  return failed.length === 0 ? 0 : 1
}

function stepAgainstBrokers(parameters) {
  const vitest = [at('node_modules', 'vitest', 'vitest.mjs'), 'run', '--config', at('vitest.kafka.config.ts')]
  return ['tests against real brokers', pinnedNode(), [...vitest, ...parameters]]
}

function stepWithTrl(parameters) {
  const vitest = [at('node_modules', 'vitest', 'vitest.mjs'), 'run', '--config', at('vitest.trl.config.ts')]
  return ['tests with torch and TRL', pinnedNode(), [...vitest, ...parameters]]
}

/** @returns whether it passed */
function run([name, program, parameters]) {
  say(name)
  const env = { ...environment(), PLUMBLINE_FAILED_TESTS: FAILED_TESTS }
  return spawnSync(program, parameters, { cwd: root, stdio: 'inherit', env }).status === 0
}

/** The pinned Node if there is one for this platform, else the host's if it is recent enough. */
function pinnedNode() {
  if (existsSync(NODE)) return NODE
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major >= 24 || (major === 22 && minor >= 18)) return process.execPath
  return stop(
    `There is no pinned Node for ${process.platform}-${process.arch}; install Node 24 and run this with it (this is ${process.version}).`,
  )
}

/**
 * Puts the pinned Node first in PATH, for child processes called `node`. Compiled code is cached in the system's folder
 * for temporary files from the first module on, for every process and thread: a command starts in half the time.
 */
function environment() {
  const PATH = `${at('node_modules', '.bin')}:${process.env.PATH ?? ''}`
  return { NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache'), ...process.env, PATH }
}

function runForeground(program, parameters) {
  const child = spawn(program, parameters, { stdio: 'inherit', env: environment() })
  for (const signal of INTERRUPTS) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => stop(`cannot start ${program}: ${error.message}`))
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1)
    if (CRASHES.includes(signal)) stop(crashed(signal, parameters))
    for (const name of INTERRUPTS) process.removeAllListeners(name)
    process.kill(process.pid, signal)
  })
}

/**
 * A mapped file that another program truncates ends the process with SIGBUS; a damaged one may with SIGSEGV. The
 * process itself cannot report that.
 */
function crashed(signal, parameters) {
  const data = parameters[parameters.indexOf('--data') + 1]
  const folder = (parameters.includes('--data') ? data : process.env.PLUMBLINE_DATA) || './data'
  return (
    `the program was ended by ${signal}. If a file in ${folder} is damaged, or was cut short meanwhile, that is why.\n` +
    `  see whether it can be read: ./plumbline --data ${folder} verify; if not, put a backup in its place,\n` +
    `  or copy its intact records into a new folder: ./plumbline --data ${folder} repair --to NEWDIR`
  )
}

function command(program, parameters) {
  const { status, error } = spawnSync(program, parameters, { cwd: root, stdio: ['ignore', 2, 2] })
  if (error !== undefined) stop(`cannot run ${program}: ${error.message}; install it and try again`)
  if (status !== 0) stop(`${program} ${parameters.join(' ')} ended with ${status}; its own message stands above`)
}

function say(message) {
  process.stderr.write(`plumbline: ${message}\n`)
}

function stop(message) {
  say(message)
  process.exit(1)
}
