import { z } from '@hono/zod-openapi'
import { Refused } from './calls.ts'

/** An answer in JSON, as the OpenAPI document has it. */
export const json = <A extends z.ZodType>(description: string, schema: A) => ({
  description,
  content: { 'application/json': { schema } },
})

/** An answer of bytes. */
export const binary = (description: string, type: string) => ({
  description,
  content: { [type]: { schema: z.string().openapi({ format: 'binary' }) } },
})

/** How every call may be refused. */
export const refusals = {
  400: json('the call is not valid', Refused),
  401: json('no token, or one that the feed does not know', Refused),
  403: json('the token may not do this, or without tokens: a Host or Origin that is not of this machine', Refused),
  404: json('there is no such consumer, checkpoint or blob', Refused),
  408: json('the body did not arrive in time', Refused),
  409: json('the state of the consumer, or what was published before, does not allow it', Refused),
  413: json('the body is too large', Refused),
  429: json('too many groups are leased', Refused),
  503: json('the log, the blobs or the tables cannot be reached, or too many calls are under way; repeat it', Refused),
}
