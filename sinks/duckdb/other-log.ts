/** Name in `internal.meta` of the reason why this file is no longer loaded. */
export const OTHER_LOG = 'other_log'
