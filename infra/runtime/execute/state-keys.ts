/** Keys of a task's state that are no keys of events: no event key begins with U+0000. */
const OF_RUNTIME = '\u0000'

/** The key under which a fold's task stores its clocks, in every partition. */
export const CLOCKS_KEY = `${OF_RUNTIME}clocks`

const BROADCAST = `${OF_RUNTIME}broadcast/`

/** The key under which a task stores its broadcast state of this name. */
export const broadcastKey = (name: string) => `${BROADCAST}${name}`

export const isBroadcastKey = (key: string) => key.startsWith(BROADCAST)

/** Whether a key of a task's state belongs to its processor: then an event has that key. */
export const isStateKey = (key: string) => key !== CLOCKS_KEY && !isBroadcastKey(key)
