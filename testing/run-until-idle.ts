import type { DataFolder } from '../pipeline/data-folder.ts'
import { type PipelineOptions, runPipeline } from '../pipeline/run-pipeline.ts'
import { openDuckDbSink } from '../sinks/duckdb/duckdb-sink.ts'
import type { Topology } from '../streams/topology.ts'

/** Does `run --until-idle` in this process: runs workers, tables and more sinks until nothing is left to do. */
export async function runUntilIdle(
  folder: DataFolder,
  topology: Topology,
  options: Partial<PipelineOptions> = {},
): Promise<void> {
  const { log, blobs, duckdb_file } = folder
  const sink = await openDuckDbSink({
    file: duckdb_file,
    log,
    catalogue: topology.events,
    views: topology.views,
    blobs,
  })
  try {
    await runPipeline({
      folder,
      topology,
      only: [],
      until_idle: true,
      expire_pending: false,
      signal: new AbortController().signal,
      onWorkerEvent: () => {},
      ...options,
      sinks: [sink, ...(options.sinks ?? [])],
    })
  } finally {
    await sink.close()
  }
}
