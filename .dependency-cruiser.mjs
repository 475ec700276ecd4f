/**
 * Imports go one way (ARCHITECTURE.md, "The folders"): each folder may import itself and what its line names. Tests may
 * reach further: they put parts together.
 */
const MAY_IMPORT = {
  schemas: [],
  environments: [],
  processors: ['schemas', 'environments'],
  // Of the processors, infra knows the shapes alone.
  infra: ['schemas', 'processors/processor.ts'],
  sources: ['schemas', 'environments', 'infra'],
  sinks: ['schemas', 'environments', 'infra'],
  streams: ['processors', 'sources', 'sinks', 'schemas', 'environments'],
  pipeline: ['streams', 'processors', 'sources', 'sinks', 'schemas', 'environments', 'infra'],
}

const BELOW_RUNTIME = [
  'schemas',
  'processors/processor[.]ts',
  'infra/[a-z-]+[.]ts',
  'infra/log/port',
  'infra/blobs',
  'infra/compute',
  'infra/models',
]

/** The same within a folder: each room may import itself and what its line names. */
const ROOMS = {
  'schemas/declare': [],
  'schemas/events': ['schemas/declare'],
  'schemas/wire': ['schemas/declare'],
  'schemas/derive': ['schemas/declare', 'schemas/wire'],
  'infra/log/port': ['schemas', 'infra/[a-z-]+[.]ts'],
  'infra/log/memory': ['schemas', 'infra/[a-z-]+[.]ts', 'infra/log/port'],
  'infra/log/lmdb': ['schemas', 'infra/[a-z-]+[.]ts', 'infra/log/port'],
  'infra/log/kafka': ['schemas', 'infra/[a-z-]+[.]ts', 'infra/log/port'],
  'infra/blobs': ['schemas', 'infra/[a-z-]+[.]ts', 'infra/http'],
  'infra/http': ['infra/[a-z-]+[.]ts', 'processors/processor[.]ts'],
  'infra/supervise': ['infra/[a-z-]+[.]ts'],
  'infra/compute': ['infra/[a-z-]+[.]ts', 'infra/supervise', 'processors/processor[.]ts'],
  'infra/models': ['schemas', 'infra/[a-z-]+[.]ts', 'infra/(blobs|compute|supervise)', 'processors/processor[.]ts'],
  'infra/runtime/execute': BELOW_RUNTIME,
  'infra/runtime/internal': [...BELOW_RUNTIME, 'infra/runtime/execute'],
  'infra/runtime/state': [...BELOW_RUNTIME, 'infra/runtime/(execute|internal)'],
  'infra/runtime/work': [...BELOW_RUNTIME, 'infra/runtime/(execute|internal|state)'],
  'infra/runtime/rebuild': [...BELOW_RUNTIME, 'infra/runtime/(execute|internal|state|work)'],
  'infra/runtime/watch': [...BELOW_RUNTIME, 'infra/http', 'infra/runtime/(execute|internal|state|work)'],
}

const folderRules = [...Object.entries(MAY_IMPORT), ...Object.entries(ROOMS)].map(([folder, allowed]) => ({
  name: `${folder.replaceAll('/', '-')}-imports`,
  comment: `${folder}/ may import ${[folder, ...allowed].join(', ')} and packages`,
  severity: 'error',
  from: { path: `^${folder}/`, pathNot: '\\.test\\.ts$|/conformance|/test-harness\\.ts$' },
  to: {
    path: '^[a-z]',
    pathNot: ['^node_modules/', '^node:', ...[folder, ...allowed].map((to) => `^${to}`)],
    dependencyTypesNot: ['core'],
  },
}))

export default {
  forbidden: [
    ...folderRules,
    {
      name: 'the-program-imports-no-tests',
      severity: 'error',
      from: {
        path: `^(${Object.keys(MAY_IMPORT).join('|')}|cli|bundle)/`,
        pathNot: '\\.test\\.ts$|/conformance|/test-harness\\.ts$',
      },
      to: { path: '^(testing|tests)/' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'one-build-of-lmdb-js',
      comment: 'infra/log/lmdb/lmdb-js.ts loads it; a process must not load its other build too',
      severity: 'error',
      from: {},
      to: { path: '^node_modules/lmdb/', dependencyTypesNot: ['type-only'] },
    },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-dev-packages-in-the-program',
      severity: 'error',
      from: { pathNot: '\\.test\\.ts$|^vitest|/conformance|^testing/|^bench/|^tests/' },
      to: { dependencyTypes: ['npm-dev'], pathNot: 'node_modules/@types/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(node_modules|data|\\.venv|\\.venv-trl|\\.guard)/' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      extensions: ['.ts', '.mjs', '.js'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
    },
  },
}
