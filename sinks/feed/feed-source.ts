/** The `ce_source` of what the feed decides about training consumers; the consumer follows. */
export const FEED_SOURCES = '/feed/'
