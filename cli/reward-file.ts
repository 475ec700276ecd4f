import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { CustomReward, CustomRewardFunction } from '../processors/rescore-completions/custom-reward.ts'
import { UsageError } from './usage-error.ts'

/** The smallest reward file: what every message about a wrong one points to. */
export const EXAMPLE = `export const version = 1
export function reward({ outcome, distance_world }) { return outcome === 'stable' ? 1 - distance_world : 0 }`

export interface RewardFile extends CustomReward {
  readonly file: string
  readonly source: string
}

/**
 * Reads a reward file: a plain module with `version` and one exported function.
 *
 * @throws UsageError naming the file, what was expected of it and what is there.
 */
export async function readRewardFile(
  path: string,
  { name, dialect }: Pick<CustomReward, 'name' | 'dialect'>,
): Promise<RewardFile> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    const why =
      { ENOENT: 'there is no such file', EISDIR: 'it is a folder' }[error.code as 'ENOENT' | 'EISDIR'] ?? error.message
    throw new UsageError(`--reward ${path}: cannot be read: ${why}`, REMEDY)
  })
  const source_sha256 = createHash('sha256').update(bytes).digest('hex')
  // The hash in the address: a file that was changed meanwhile is another module.
  const address = `${pathToFileURL(resolve(path)).href}?sha256=${source_sha256}`
  const module = await import(address).catch((error: unknown) => {
    throw new UsageError(
      `--reward ${path}: expected a JavaScript or TypeScript module, but loading it failed: ${firstLine(error)}`,
      'types must be erasable (no enum, no namespace); imports name their file with its ending',
      { cause: error },
    )
  })
  const exported = Object.entries(module as Record<string, unknown>)
  const { version } = module as { version?: unknown }
  const functions = exported.filter(([, value]) => typeof value === 'function')
  const others = exported.filter(([name, value]) => name !== 'version' && typeof value !== 'function')
  const names = exported.map(([exportName]) => exportName).join(', ') || 'nothing'
  const [chosen] = functions
  if (chosen === undefined || functions.length > 1 || others.length > 0) {
    throw new UsageError(
      `--reward ${path}: expected one exported function and a version, got exports ${names}`,
      functions.length > 1 ? 'export the one that is the reward; keep the others to the file' : REMEDY,
    )
  }
  if (!Number.isSafeInteger(version) || (version as number) < 0 || (version as number) >= 2 ** 31) {
    throw new UsageError(
      `--reward ${path}: export version: expected a whole number from 0, got ${version === undefined ? 'none' : JSON.stringify(version)}`,
      'add a line: export const version = 1',
    )
  }
  const [functionName, evaluate] = chosen
  return {
    name,
    dialect,
    version: version as number,
    where: `${basename(path)} ${functionName}()`,
    file: basename(path),
    source: bytes.toString('utf8'),
    source_sha256,
    evaluate: evaluate as CustomRewardFunction,
  }
}

const REMEDY = `the smallest one has two lines:\n\n${EXAMPLE.replaceAll(/^/gm, '    ')}\n`

const firstLine = (error: unknown) => (error instanceof Error ? error.message : String(error)).split('\n')[0]
