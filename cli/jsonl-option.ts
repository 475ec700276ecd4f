/** `--jsonl` of the commands that show positions. */
export const JSONL = ['--jsonl <dir>', 'with the JSON Lines sink that writes to this folder'] as const
