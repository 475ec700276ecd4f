/** The program of a child process that runs kernels for the one that started it. */
import { answerStarter } from '../supervise/answer-starter.ts'
import { type KernelCall, runKernel } from './load-kernel.ts'
import { endWithStarter } from './orphan-watch.ts'

endWithStarter()
answerStarter({
  run: (call) => runKernel(call as KernelCall),
  async close() {},
})
