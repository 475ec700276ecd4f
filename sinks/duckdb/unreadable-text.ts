/** For messages: how many records no table has, and where to look. */
export const unreadableText = (count: number) =>
  `${count} ${count === 1 ? 'record, which is' : 'records, which are'} in no table and read again now and then; see: ./plumbline dlq list --processor duckdb`
