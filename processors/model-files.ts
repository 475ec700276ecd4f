import { z } from 'zod'
import { MODEL_FILES } from '../schemas/events/model.ts'

const blob = z.object({ sha256: z.string(), bytes: z.int(), media_type: z.string() })

/** The files of a model, as states have them. */
export const modelFiles = z.array(z.object({ name: z.enum(MODEL_FILES), blob })).readonly()
