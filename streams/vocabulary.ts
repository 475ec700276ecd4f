import { catalogueOf } from '../schemas/declare/registry.ts'
import { DOMAINS, eventsOf, reportsOf, viewsOf } from './topology.ts'

/** Every event type of this program's domains. */
export const catalogue = eventsOf(DOMAINS)

/** The same, indexed by type, for decoding records. */
export const vocabulary = catalogueOf(catalogue)

/** Every view of this program's domains. */
export const views = viewsOf(DOMAINS)

/** Every report of this program's domains. */
export const reports = reportsOf(DOMAINS)
