/**
 * Node's HTTP module without an `import`, which would read every property of it. One property loads all of `fetch`,
 * 35 ms at the start of each process.
 */
export const http: typeof import('node:http') = process.getBuiltinModule('node:http')
