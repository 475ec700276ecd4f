import { encodeEvent, decodeEvent } from './schemas/codec.ts'
import { canonicalHash } from './schemas/canonical.ts'
import { catalogueOf } from './schemas/registry.ts'
import { catalogue } from './schemas/catalogue.ts'
import { completionsScored } from './schemas/tower.ts'
import { validateData } from './schemas/validation.ts'
import { arrowCodec } from './schemas/arrow-codec.ts'
import { tableToIPC, tableFromIPC, vectorFromArray, Table } from 'apache-arrow'
import { arrowSchemaOf } from './schemas/arrow-schema.ts'
const rows = Array.from({length:16},(_, i)=>({ group_id:'group-123456', completion_index:i, attempt_id:'a0123456789abcdef', sampled_id:'0123456789abcdef0123456789abcdef', scene_id:'scene-1', task:'x_y' as const, answer: i%3? `${i*7}, -3`:null, parse_error: i%3?null:'no answer', dx:i%3?i*7:null, dy:i%3?-3:null, placed:i%3?{x:0.1*i,y:0.5}:null, settled:null, outcome: i%3?'stable' as const:'non_parseable' as const, distance_world:i%3?0.1*i:null, reward:i%3?20-i:-5, reward_components:{ base: -5+i, bonus: 0.25*i }, reward_name:'paper', reward_version:1, physics_engine:'rapier', physics_version:'0.21', scorer_error:null }))
const event:any = { id:'0123456789abcdef0123456789abcdef', source:'/processors/score-completions', type:completionsScored.type, version:1, time:'2026-01-01T00:00:00.000Z', key:'group-123456', clock:'virtual', causes:['a','b'], data:rows }
const events = catalogueOf(catalogue)
const enc = encodeEvent(completionsScored, event)
console.log('bytes', enc.value.length, enc.headers.length)
const dec = decodeEvent(enc, events)
import { isDeepStrictEqual } from 'node:util'
console.log('equal', isDeepStrictEqual(dec, event))
const time = (name:string, f:()=>unknown, n=3000) => { for(let i=0;i<n;i++) f(); const t=performance.now(); for(let i=0;i<n;i++) f(); console.log(name, ((performance.now()-t)/n*1000).toFixed(1),'us') }
time('encodeEvent', ()=>encodeEvent(completionsScored, event))
time('decodeEvent', ()=>decodeEvent(enc, events))
time('validate', ()=>validateData(completionsScored, rows))
const ac = arrowCodec(completionsScored.row)
time('arrow encode', ()=>ac.encode(rows))
time('arrow decode', ()=>ac.decode(enc.value, ()=>undefined))
time('canonicalHash', ()=>canonicalHash(completionsScored, event))
const schema = arrowSchemaOf(completionsScored.row)
const built = () => tableToIPC(new Table(Object.fromEntries(schema.fields.map(f=>[f.name, vectorFromArray(rows.map(r=>{ const v=(r as any)[f.name]; return v}), f.type)]))), 'stream')


