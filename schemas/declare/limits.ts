/**
 * Bounds that several events share. They are generous: no run comes near them, so a number beyond them is an error.
 */

/** The paper uses 16, trainers up to 1,024; the rows of a larger group would not fit into one event. */
export const MAX_GROUP_SIZE = 4_096

/** A completion's place in its group. */
export const INDEX = { min: 0, max: MAX_GROUP_SIZE - 1 }

/** Ids, names, hashes, versions: texts that people compare rather than read. */
export const ID = { max_length: 1_024 }

/** As large as a whole event may be. */
export const TEXT = { max_length: 512 * 1024 }

/** Tokens of one prompt or completion. */
export const TOKENS = { max_length: 2 ** 22 }

export const NOT_NEGATIVE = { min: 0 }

export const MAX_BLOCKS = 1_024

export const PICTURE = { max_side: 32_768 }
