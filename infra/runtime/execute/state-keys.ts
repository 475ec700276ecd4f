/** The key under which a fold's task stores its clocks, in every partition. No event key contains U+0000. */
export const CLOCKS_KEY = '\u0000clocks'

/** The key under which a task stores its broadcast state. */
export const BROADCAST_KEY = '\u0000broadcast'

/** Whether a key of a task's state belongs to its processor: then an event has that key. */
export const isStateKey = (key: string) => key !== CLOCKS_KEY && key !== BROADCAST_KEY
