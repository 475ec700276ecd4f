import { once } from 'node:events'

/** Writes to standard output with back-pressure: waits until it is drained. */
export async function writeOut(text: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain')
}
