import { logConformance } from '../conformance/conformance.ts'
import { memoryHarness } from './test-harness.ts'

logConformance('the memory log', async () => memoryHarness())
