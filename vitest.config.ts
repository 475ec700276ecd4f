import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['**/*.{unit,int,e2e}.test.ts'],
    exclude: ['node_modules/**', 'data/**', '.venv/**'],
    reporters: ['default', './tests/closing-line.ts'],
    pool: 'forks',
    testTimeout: 180_000,
    hookTimeout: 180_000,
    passWithNoTests: false,
  },
})
