/**
 * The `ce_source` of what the runtime appends. Alone in a file without imports: the vocabulary and the views name them,
 * and a command that reads only those must not load a codec.
 */

/** Of derived events. */
export const sourceOf = (processor: string) => `/processors/${processor}`
/** Of results that an effect obtained from outside. These are facts, which no rebuild emits. */
export const factSourceOf = (processor: string) => `/effects/${processor}`
