import { sinkConformance } from '../conformance/conformance.ts'
import type { SinkDriver } from '../conformance/driver.ts'
import { DRIVERS } from '../conformance/drivers.ts'

sinkConformance(DRIVERS.jsonl as SinkDriver)
