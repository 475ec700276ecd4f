/**
 * The sink's own tables, in the schema `internal`. Views and people may read them; only the sink writes them. They are
 * committed in the same transaction as the rows that they describe.
 */
export const INTERNAL_SCHEMA = `
  CREATE SCHEMA IF NOT EXISTS internal;
  CREATE TABLE IF NOT EXISTS internal.meta (
    name VARCHAR PRIMARY KEY,
    value VARCHAR NOT NULL
  );
  COMMENT ON TABLE internal.meta IS 'Which declarations the tables and views were made from';
  CREATE TABLE IF NOT EXISTS internal.views (
    name VARCHAR PRIMARY KEY,
    place INTEGER NOT NULL,
    statements JSON NOT NULL
  );
  COMMENT ON TABLE internal.views IS 'The statements that make each view, in order: an answer as of earlier offsets rebuilds them';
  CREATE TABLE IF NOT EXISTS internal.positions (
    topic VARCHAR,
    "partition" INTEGER,
    next BIGINT NOT NULL,
    PRIMARY KEY (topic, "partition")
  );
  ALTER TABLE internal.positions ADD COLUMN IF NOT EXISTS seen VARCHAR;
  COMMENT ON TABLE internal.positions IS 'How far each topic is loaded: the offset of the next record to read';
  COMMENT ON COLUMN internal.positions.seen IS 'Which topic that was read in, and the last record before it';
  CREATE TABLE IF NOT EXISTS internal.unreadable (
    topic VARCHAR,
    "partition" INTEGER,
    "offset" BIGINT,
    ce_id VARCHAR,
    error VARCHAR NOT NULL,
    PRIMARY KEY (topic, "partition", "offset")
  );
  COMMENT ON TABLE internal.unreadable IS 'Records that are in no table, and why';
  CREATE TABLE IF NOT EXISTS internal.dead_letters (
    log_partition INTEGER,
    log_offset BIGINT,
    processor VARCHAR NOT NULL,
    failure VARCHAR NOT NULL,
    topic VARCHAR NOT NULL,
    "partition" INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    error VARCHAR NOT NULL,
    ce_id VARCHAR,
    ce_type VARCHAR,
    rows INTEGER,
    key VARCHAR,
    PRIMARY KEY (log_partition, log_offset)
  );
  COMMENT ON TABLE internal.dead_letters IS 'Records that a processor could not take: which, where from, and why';
  CREATE TABLE IF NOT EXISTS internal.state (
    processor VARCHAR,
    "partition" INTEGER NOT NULL,
    key VARCHAR,
    state JSON NOT NULL,
    PRIMARY KEY (processor, key)
  );
  COMMENT ON TABLE internal.state IS 'The keyed state of the folds that views count, at or after their published positions';
  CREATE TABLE IF NOT EXISTS internal.processor_positions (
    processor VARCHAR,
    topic VARCHAR,
    "partition" INTEGER,
    next BIGINT NOT NULL,
    PRIMARY KEY (processor, topic, "partition")
  );
  COMMENT ON TABLE internal.processor_positions IS 'How far a processor had read, published after everything that it had written by then was loaded';
`

/** Temporary table of the connection, for changes of `internal.state` until one statement merges them. */
export const STATE_STAGING = `
  CREATE TEMP TABLE IF NOT EXISTS state_staging (
    processor VARCHAR,
    "partition" INTEGER,
    key VARCHAR,
    state VARCHAR
  );
`

/** Increase it with any incompatible change above: the file must then be rebuilt. */
export const INTERNAL_VERSION = '1'
