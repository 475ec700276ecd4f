/** Makes a bundle: `node bundle/make.mjs ROOT FOLDER`, as program-file.mjs does on the Node that runs the program. */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { rolldown } from 'rolldown'
import { bundlesOf, entryOf, MAIN, PREFIX } from './program-file.mjs'

/** How the sources name the module of a thread or of another process. */
const OTHER_ENTRY = /new URL\('(\.\/[\w-]+\.ts)', import\.meta\.url\)/g
/** A bundle that no process has used for so long is removed. */
const UNUSED_MS = 3 * 86_400_000

const [root = '', folder = ''] = process.argv.slice(2)
const arriving = `${folder}.${process.pid}`
try {
  await write(arriving)
  moveTo(folder)
} finally {
  rmSync(arriving, { recursive: true, force: true })
}
removeUnused()

async function write(dir) {
  const build = await rolldown({
    cwd: root,
    platform: 'node',
    input: join(root, MAIN),
    external: isApart,
    plugins: [places()],
    onLog(level, log) {
      if (level === 'warn') throw new Error(log.message)
    },
  })
  await build.write({
    dir,
    format: 'esm',
    // Messages name classes, also where two modules have one of the same name.
    keepNames: true,
    entryFileNames: entryOf(MAIN),
    chunkFileNames: '[name]-[hash].mjs',
  })
}

/**
 * Packages that are loaded from node_modules: those with compiled code for each platform, which they find by their own
 * place, and Rapier, whose file is mostly WebAssembly in base64.
 */
function isApart(id) {
  const [, name] = /^((?:@[\w-][\w.-]*\/)?[\w-][\w.-]*)/.exec(id) ?? []
  if (name === undefined) return false
  if (name.startsWith('@dimforge/')) return true
  const file = join(root, 'node_modules', name, 'package.json')
  if (!existsSync(file)) return false
  const { optionalDependencies = {}, binary } = JSON.parse(readFileSync(file, 'utf8'))
  return Object.keys(optionalDependencies).length > 0 || binary !== undefined
}

/**
 * Modules find files by their own place, `import.meta.url`. In the bundle that is still the place of the source, so that
 * data files are read where they are. Only threads and processes are started from the bundle.
 */
function places() {
  return {
    name: 'places',
    transform(code, id) {
      if (!id.startsWith(root) || id.includes('node_modules') || !code.includes('import.meta')) return null
      const here = relative(root, id)
      const parts = code.split(OTHER_ENTRY).map((part, at) => {
        if (at % 2 === 0)
          return part.replaceAll('import.meta.url', `new URL('${relative(folder, id)}', import.meta.url).href`)
        const entry = join(dirname(here), part)
        this.emitFile({ type: 'chunk', id: join(root, entry), fileName: entryOf(entry) })
        return `new URL('./${entryOf(entry)}', import.meta.url)`
      })
      return { code: parts.join(''), map: null }
    },
  }
}

/** Another process may have made the same bundle meanwhile. */
function moveTo(place) {
  try {
    renameSync(arriving, place)
  } catch (error) {
    if (!existsSync(place)) throw error
  }
}

function removeUnused() {
  const bundles = bundlesOf(root)
  for (const name of readdirSync(bundles).filter((found) => found.startsWith(PREFIX))) {
    try {
      const old = join(bundles, name)
      if (Date.now() - statSync(old).mtimeMs > UNUSED_MS) rmSync(old, { recursive: true, force: true })
    } catch (error) {
      // Another process removed it.
      if (error.code !== 'ENOENT') throw error
    }
  }
}
