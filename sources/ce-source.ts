/** The `ce_source` of each source, without its code: `verify` knows them also where the source does not run. */

/** Of generated towers. */
export const TOWER_SOURCE = '/sources/tower'
/** Of photographs of towers. */
export const LERER_SOURCE = '/sources/lerer'
/** Of recorded completions; the identity of the file follows. */
export const RECORDED_SOURCES = '/sources/recorded-completions/'
/** Of ticks. */
export const CLOCK_SOURCE = '/sources/clock'
/** Of published models; who published them follows. */
export const MODEL_SOURCES = '/sources/models/'
/** Of models that a server was made to load. */
export const ACTIVATIONS_SOURCE = '/effects/activate-models'
