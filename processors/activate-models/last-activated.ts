import { z } from 'zod'
import type { DataOf } from '../../schemas/declare/event.ts'
import { modelActivated } from '../../schemas/events/model.ts'
import { modelFiles } from '../model-files.ts'
import { type Broadcast, isA } from '../processor.ts'

const activated = z.object({
  model_id: z.string(),
  lineage: z.string(),
  version: z.int(),
  name: z.string(),
  adapter_sha256: z.string(),
  files: modelFiles,
  base: z.string().nullable(),
})

/** A model that a server has answered with, as much of it as its use needs. */
export type Activated = z.infer<typeof activated>

/** More than any server has loaded at once; those before them are unloaded already. Inferred. */
export const MOST_RECENT = 32

/**
 * Broadcast state: the activated models of a lineage, the highest version first. Not by server: a server that moves to
 * another address, or another server, is asked for the same model, and made to load it when it says that it has none.
 */
export function lastActivated(lineage: string): Broadcast<readonly Activated[]> {
  return {
    name: `activated/${lineage}`,
    inputs: [modelActivated],
    version: 1,
    schema: z.array(activated).readonly(),
    initial: [],
    apply(recent, event) {
      if (!isA(event, modelActivated) || event.data.lineage !== lineage) return recent
      if (recent.some(({ version }) => version === event.data.version)) return recent
      return [asActivated(event.data), ...recent]
        .sort((one, other) => other.version - one.version)
        .slice(0, MOST_RECENT)
    },
  }
}

function asActivated(data: DataOf<typeof modelActivated>): Activated {
  const { model_id, lineage, version, name, adapter_sha256, files, base } = data
  return { model_id, lineage, version, name, adapter_sha256, files, base }
}
