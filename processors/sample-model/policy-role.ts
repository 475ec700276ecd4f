import { MODEL_ROLES } from '../../schemas/events/model.ts'

export type ModelRole = (typeof MODEL_ROLES)[number]

export const isModelPolicy = (policy: string) => policy.startsWith('onnx(')

export const modelPolicyName = (role: ModelRole) => `onnx(${role})`

/**
 * Parses `onnx(ROLE)`.
 *
 * @throws RangeError that states what was expected
 */
export function parseModelPolicy(policy: string): ModelRole {
  const [, name] = /^onnx\(\s*(\w*)\s*\)$/.exec(policy) ?? []
  return roleNamed(name, `policy ${JSON.stringify(policy)}`)
}

/** @throws RangeError naming the roles */
export function roleNamed(name: string | undefined, where: string): ModelRole {
  const role = MODEL_ROLES.find((one) => one === name)
  if (role !== undefined) return role
  throw new RangeError(`${where}: expected a role, one of ${MODEL_ROLES.join(', ')}; it looks like onnx(policy)`)
}
