/** The key under which a fold's task stores its clocks, in every partition. No event key contains U+0000. */
export const CLOCKS_KEY = '\u0000clocks'

/** Whether a key of a task's state belongs to its processor. */
export const isStateKey = (key: string) => key !== CLOCKS_KEY
