/** How long a silent worker keeps its partitions in this test. */
export const SESSION_MS = 1_500
