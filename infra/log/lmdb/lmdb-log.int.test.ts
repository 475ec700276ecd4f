import { logConformance } from '../conformance/conformance.ts'
import { lmdbHarness } from './test-harness.ts'

logConformance('the LMDB log', lmdbHarness)
