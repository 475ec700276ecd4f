import { type Ended, outputOf, start } from '../program.ts'

/** Where the program works. */
export interface At {
  readonly data: string
  /** Address of a log outside the folder. */
  readonly log: string | undefined
}

/** Runs the program to its end. */
export function plumbline({ data, log }: At, args: readonly string[]): Promise<Ended> {
  const flags = ['--data', data, ...(log ? ['--log', log] : [])]
  return start([...flags, ...args], { cwd: process.cwd() }).ended
}

/** Runs the program to its end and expects success. @returns standard output */
export const plumblineOk = (at: At, args: readonly string[]): Promise<string> => outputOf(args, plumbline(at, args))

/** Rows of an SQL answer. */
export async function sql<T>(at: At, statement: string): Promise<T[]> {
  return JSON.parse(await plumblineOk(at, ['sql', statement, '--format', 'json'])) as T[]
}
