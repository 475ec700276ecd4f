import { randomBytes } from 'node:crypto'
import { type FileHandle, open, realpath, rename, rm } from 'node:fs/promises'
import { readRegularFile } from './regular-file.ts'
import { hashOf, parseTokens, type Token } from './tokens.ts'

/** Enough that the hash of one cannot be searched for. */
const TOKEN_BYTES = 24
const PRIVATE = 0o600

/**
 * Makes a token and adds its hash to the file, which is replaced as a whole. A new file is for this user alone; one that
 * was there keeps its permissions.
 *
 * @returns the token, which is stored nowhere
 * @throws Error when the file is not valid, has a token of this name, or cannot be written
 */
export async function addToken(file: string, wanted: Omit<Token, 'sha256'>): Promise<string> {
  // A link stays one.
  const place = await realpath(file).catch(() => file)
  // A device is not replaced, nor is a file made next to it.
  await tokensIn(place)
  const arriving = `${place}.new`
  // Two that add at the same moment would lose one of the tokens.
  const handle = await open(arriving, 'wx', PRIVATE).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
    throw new Error(`${arriving} exists: another process adds a token now; if none does, delete that file`)
  })
  try {
    const token = randomBytes(TOKEN_BYTES).toString('base64url')
    await writeWith(handle, place, { ...wanted, sha256: hashOf(token).toString('hex') })
    await rename(arriving, place)
    return token
  } catch (error) {
    await rm(arriving, { force: true })
    throw error
  }
}

async function writeWith(handle: FileHandle, place: string, added: Token): Promise<void> {
  try {
    const { tokens: there, mode } = await tokensIn(place)
    const { name, sha256, ...may } = added
    if (there.some((token) => token.name === name)) throw new Error(`it has a token with the name ${name}`)
    const tokens = [...there, { name, sha256, ...may }]
    const text = `${JSON.stringify({ tokens }, null, 2)}\n`
    parseTokens(text)
    await handle.writeFile(text)
    await handle.chmod(mode)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function tokensIn(place: string): Promise<{ readonly tokens: readonly Token[]; readonly mode: number }> {
  try {
    const { text = '', mode = PRIVATE } = (await readRegularFile(place)) ?? {}
    return { tokens: parseTokens(text), mode }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { tokens: [], mode: PRIVATE }
    throw error
  }
}
