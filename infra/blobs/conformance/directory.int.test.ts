import { blobConformance, OF_A_NETWORK } from './conformance.ts'
import { directoryHarness } from './directory-harness.ts'

const skips = Object.fromEntries(OF_A_NETWORK.map((name) => [name, 'a folder is not behind a network']))
blobConformance('a directory', directoryHarness, skips)
