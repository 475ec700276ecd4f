/**
 * The token of an `Authorization` header (RFC 6750), of every server here. The scheme may be in any case; spaces around
 * the token do not count.
 */
export function bearerOf(authorization: string | undefined): string | undefined {
  const [, shown = ''] = /^bearer +(.*)$/i.exec(authorization ?? '') ?? []
  return shown.trim() || undefined
}
