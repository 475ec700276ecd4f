import { declaredAs, defineValue } from '../declare/declared-value.ts'
import { defineEvent } from '../declare/event.ts'
import { ID, INDEX, MAX_BLOCKS, NOT_NEGATIVE, PICTURE, TEXT } from '../declare/limits.ts'
import {
  bool,
  float64,
  image,
  int32,
  list,
  mapOf,
  nullable,
  oneOf,
  type RowOf,
  struct,
  utf8,
} from '../declare/logical-types.ts'

/** Datasets that the simulator generates. */
export const DATASETS = ['top_block', 'side_block'] as const
/** Datasets of a scene; `lerer` is photographs of wooden towers (paper 1 A.1.3). */
export const SCENE_DATASETS = [...DATASETS, 'lerer'] as const
export const TASKS = ['binary_stability', 'x_only', 'x_y'] as const
/** How a task is put into words: paper 1 A.4, word for word. */
export const PROMPT_VARIANTS = ['plain', 'reasoning'] as const
export const SPLITS = ['train', 'test_iid', 'test_offset', 'test_height', 'test_appearance'] as const
/** `test_external`: data of a kind that is never trained on. */
export const SCENE_SPLITS = [...SPLITS, 'test_external'] as const

/** The result of an answer; the binary task has only `non_parseable` and the last two. */
export const OUTCOMES = [
  'non_parseable',
  'below_floor',
  'inside_tower',
  'unstable',
  'stable',
  'correct',
  'incorrect',
] as const

const position = { x: float64('right of the tower axis, world units'), y: float64('above the floor, world units') }

/** Version 1, for generated towers only: still needed to read old logs. */
export const sceneFieldsV1 = {
  scene_id: utf8(ID, 'identity of the scene within its dataset, split and seed'),
  dataset: oneOf(DATASETS, 'paper 1 §3.1'),
  split: oneOf(SPLITS, 'disjoint by content key'),
  seed: utf8(ID, 'seed of the generator'),
  index: int32(NOT_NEGATIVE, 'position in the sequence of scenes of dataset, split and seed'),
  height: int32({ min: 0, max: MAX_BLOCKS }, 'number of blocks, the moved one included'),
  blocks: list(
    struct({
      x: float64('centre, world units'),
      y: float64('centre, world units'),
      z: float64('centre, world units'),
      edge: float64(NOT_NEGATIVE, 'world units'),
      colour: list(int32({ min: 0, max: 255 }), { max_length: 3 }, 'r, g, b'),
    }),
    { max_length: MAX_BLOCKS },
    'lowest first, the moved one last',
  ),
  moved_block: int32({ min: 0, max: MAX_BLOCKS - 1 }, 'index into blocks'),
  image: image(PICTURE, '256×256 RGB'),
  offset_world: float64('signed displacement of the moved block from the tower axis, world units'),
  offset_units: int32('the same in answer units'),
  com_margin_world: float64(
    'distance of the moved centre of mass inside (+) or outside (−) its support edge, world units',
  ),
  is_stable: bool('whether the tower as shown stands'),
  optimal_move: struct({ dx_units: int32(), dy_units: int32() }, 'the move with the highest reward, answer units'),
  unit: float64(NOT_NEGATIVE, 'world units of one answer integer'),
  simulator_version: utf8(ID, 'names everything that could change an outcome or a pixel'),
  content_key: utf8(ID, 'dataset, height and signed offset: what splits are disjoint by'),
}

/** The scorer's input for placing a block and running the physics. A photograph has a label but null geometry. */
export const sceneFields = {
  ...sceneFieldsV1,
  dataset: oneOf(SCENE_DATASETS, 'paper 1 §3.1 and A.1.3'),
  split: oneOf(SCENE_SPLITS, 'disjoint by content key'),
  seed: nullable(sceneFieldsV1.seed),
  index: int32(
    NOT_NEGATIVE,
    'position in the sequence of scenes of dataset, split and seed; in the label file of a photograph',
  ),
  height: nullable(sceneFieldsV1.height),
  moved_block: nullable(sceneFieldsV1.moved_block),
  image: image(PICTURE, 'RGB; 256×256 when generated'),
  offset_world: nullable(sceneFieldsV1.offset_world),
  offset_units: nullable(sceneFieldsV1.offset_units),
  com_margin_world: nullable(sceneFieldsV1.com_margin_world),
  optimal_move: nullable(sceneFieldsV1.optimal_move),
  unit: nullable(sceneFieldsV1.unit),
  simulator_version: nullable(sceneFieldsV1.simulator_version),
  content_key: utf8(ID, 'what splits are disjoint by: dataset, height and signed offset; of a photograph its pixels'),
}

/** A tower as the state that a rollout starts from. */
export const towerScene = defineValue({
  name: 'tower.scene',
  version: 1,
  about: 'A block tower, as it was presented.',
  fields: sceneFields,
})

/** The fields of a request that say which tower it is about. */
export const startAt = (scene: RowOf<typeof sceneFields>) => ({
  images: [scene.image],
  start_id: scene.scene_id,
  start: declaredAs(towerScene, scene),
})

export const scenePresented = defineEvent({
  type: 'tower.scene_presented',
  version: 2,
  key: 'scene_id',
  encoding: 'json',
  retention: 'source',
  about: 'A block tower was built and photographed.',
  row: sceneFields,
  earlier: [{ version: 1, row: sceneFieldsV1 }],
})

export const completionsScored = defineEvent({
  type: 'tower.completions_scored',
  version: 1,
  key: 'group_id',
  encoding: 'arrow',
  retention: 'derived',
  about: 'What the world did with each completion of a group, and what that was worth.',
  row_key: ['sampled_id', 'completion_index'],
  row: {
    group_id: utf8(ID),
    completion_index: int32(INDEX, '0 … group_size − 1'),
    attempt_id: utf8(ID, 'the sampling attempt that the completion belongs to'),
    sampled_id: utf8(ID, 'ce_id of the policy.completions_sampled that held the completion'),
    scene_id: utf8(ID),
    task: oneOf(TASKS, 'paper 1 §3.2'),
    answer: nullable(utf8(TEXT, 'what stood in the last <answer> pair')),
    parse_error: nullable(utf8(TEXT, 'why the answer could not be read')),
    dx: nullable(int32('answer units, right is positive')),
    dy: nullable(int32('answer units, up is positive')),
    placed: nullable(struct(position, 'centre of the moved block where the answer puts it')),
    settled: nullable(
      struct(position, 'centre of the moved block when all is at rest; null where nothing was stepped'),
    ),
    outcome: nullable(oneOf(OUTCOMES, 'null when the scorer itself failed')),
    distance_world: nullable(float64(NOT_NEGATIVE, 'd of paper 1 §3.4 at the placed position, world units')),
    reward: nullable(float64('paper 1 §3.4; null when the scorer itself failed, never a number for that')),
    reward_components: mapOf(float64(), { max_length: 1_024 }, 'the terms that add up to the reward'),
    reward_name: utf8(ID, 'which reward function'),
    reward_version: int32(),
    physics_engine: utf8(ID),
    physics_version: utf8(ID),
    scorer_error: nullable(utf8(TEXT, 'why the scorer failed')),
  },
})
