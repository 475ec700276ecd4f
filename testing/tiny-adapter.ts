/** A LoRA adapter of one matrix, as `peft` writes it; adapters of different seeds have different weights. */
export function tinyAdapter(seed: number, base: string): { readonly weights: Buffer; readonly config: Buffer } {
  const tensor = 'base_model.model.layers.0.q_proj.lora_A.weight'
  const header = Buffer.from(JSON.stringify({ [tensor]: { dtype: 'F32', shape: [1, 2], data_offsets: [0, 8] } }))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(header.length))
  const data = Buffer.from(Float32Array.of(seed, 1).buffer)
  const config = { peft_type: 'LORA', r: 1, lora_alpha: 1, target_modules: ['q_proj'], base_model_name_or_path: base }
  return { weights: Buffer.concat([size, header, data]), config: Buffer.from(JSON.stringify(config)) }
}
