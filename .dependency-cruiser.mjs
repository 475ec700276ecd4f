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
}

const folderRules = Object.entries(MAY_IMPORT).map(([folder, allowed]) => ({
  name: `${folder}-imports`,
  comment: `${folder}/ may import ${[folder, ...allowed].join(', ')} and packages`,
  severity: 'error',
  from: { path: `^${folder}/`, pathNot: '\\.test\\.ts$|/conformance' },
  to: {
    path: '^[a-z]',
    pathNot: ['^node_modules/', '^node:', ...[folder, ...allowed].map((to) => `^${to}`)],
    dependencyTypesNot: ['core'],
  },
}))

export default {
  forbidden: [
    ...folderRules,
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-dev-packages-in-the-program',
      severity: 'error',
      from: { pathNot: '\\.test\\.ts$|^vitest|/conformance|^bench/|^tests/' },
      to: { dependencyTypes: ['npm-dev'], pathNot: 'node_modules/@types/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(node_modules|data|\\.venv|\\.guard)/' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      extensions: ['.ts', '.mjs', '.js'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
    },
  },
}
