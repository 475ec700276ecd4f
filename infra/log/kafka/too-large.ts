/** The error with which zlib refuses to expand more than its limit, for codecs that have none. */
export const tooLarge = (max_bytes: number): RangeError =>
  Object.assign(new RangeError(`more than ${max_bytes} bytes`), { code: 'ERR_BUFFER_TOO_LARGE' })
