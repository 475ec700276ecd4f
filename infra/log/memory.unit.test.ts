import { logConformance } from './conformance/conformance.ts'
import { memoryHarness } from './memory-harness.ts'

logConformance('the memory log', async () => memoryHarness())
