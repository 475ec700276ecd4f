import { DuckDBInstance } from '@duckdb/node-api'
import { expect, test } from 'vitest'
import { defineValue } from '../../schemas/declare/declared-value.ts'
import { defineEvent } from '../../schemas/declare/event.ts'
import { declared, int32, utf8 } from '../../schemas/declare/logical-types.ts'
import { prepareTables } from './event-tables.ts'
import { INTERNAL_SCHEMA } from './internal-schema.ts'

const NAME = 'trial.table_start'
defineValue({ name: NAME, version: 1, about: '', fields: { x: int32() } })
const asked = defineEvent({
  ...{ type: 'trial.asked_of_table', version: 1, key: 'id', encoding: 'json', retention: 'source', about: '' },
  row: { id: utf8(), start: declared() },
})

test('a table records the versions of declared values: a later one is added, another version rebuilds the table', async () => {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    await connection.run(INTERNAL_SCHEMA)
    const made = async () => {
      const found = await connection.runAndReadAll(
        `SELECT value->>'$.values."${NAME}"' FROM internal.meta WHERE name = 'table:${asked.type}'`,
      )
      return found.getRows().map(([version]) => version)
    }
    const changeMade = (versions: object) =>
      connection.run(`UPDATE internal.meta SET value = json_merge_patch(value, $1)`, [
        JSON.stringify({ values: versions }),
      ])
    const isBuilding = async () => (await prepareTables(connection, [asked])).map(({ building }) => building)

    expect(await isBuilding()).toEqual([false])
    expect(await made()).toEqual(['1'])
    // As a process left it that did not have this declaration yet.
    await changeMade({ [NAME]: null })
    expect(await made()).toEqual([null])
    expect(await isBuilding()).toEqual([false])
    expect(await made()).toEqual(['1'])
    await changeMade({ [NAME]: 2 })
    expect(await isBuilding()).toEqual([true])
  } finally {
    connection.disconnectSync()
    instance.closeSync()
  }
})
