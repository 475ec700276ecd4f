import { sinkConformance } from '../conformance/conformance.ts'
import { driver } from './conformance-driver.ts'

sinkConformance(driver)
