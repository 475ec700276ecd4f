/** The same function, called once for each object: what it made is remembered as long as the object lives. */
export function perObject<K extends object, T>(make: (object: K) => T): (object: K) => T {
  const made = new WeakMap<K, T>()
  return (object) => {
    const known = made.get(object) ?? make(object)
    made.set(object, known)
    return known
  }
}
