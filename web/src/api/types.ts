// SPDX-License-Identifier: Apache-2.0
// The JSON of the API as far as the dashboard reads it; docs/openapi.yaml is its description.

export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string | null };
}

// ---- Generation

export interface EngramOptions {
  enabled?: boolean;
  gates?: boolean;
  rows?: boolean;
  overlays?: string[];
  as_of?: number;
}
export interface GenerationBody {
  model?: string;
  prompt?: string | number[] | number[][];
  messages?: ChatMessage[];
  max_tokens?: number;
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  repetition_penalty?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  seed?: number;
  stop?: string[];
  echo?: boolean;
  logprobs?: number;
  return_token_ids?: boolean;
  stream?: boolean;
  stream_options?: { include_usage: boolean };
  engram?: EngramOptions;
}
export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
}
export interface Trace {
  layers: number[];
  gates?: number[][][]; // [position][layer][stream]
  rows?: number[][][]; // [position][layer][column]
}
export interface Logprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[];
}
export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}
export interface Completion {
  id: string;
  model: string;
  choices: {
    index: number;
    text?: string;
    message?: ChatMessage;
    delta?: { role?: string; content?: string };
    logprobs?: Logprobs | null;
    finish_reason: string | null;
    prompt_token_ids?: number[];
    token_ids?: number[];
    engram?: Trace;
  }[];
  usage?: Usage | null;
  engram?: { memory_version: number };
}
export interface ModelList {
  data: { id: string; max_model_len: number }[];
}
// ---- Memory

export interface Row {
  row: number;
  values: number[];
  norm?: number;
  edited?: boolean;
  version?: number;
}
export interface Rows {
  version?: number;
  rows: Row[];
}
export interface EditEntry {
  layer: number;
  row?: number;
  ngram?: { text: string } | { tokens: number[] };
  heads?: number[];
  mode?: 'set' | 'add';
  values?: number[];
  data?: string;
}
export interface CommitBody {
  note?: string;
  author?: string;
  if_version?: number;
  edits: EditEntry[];
}
export interface Committed {
  version: number;
  parent: number;
  rows: number;
  digest: string;
}
export interface PlanRow {
  edit: number;
  layer: number;
  row: number;
  changes: boolean;
  norm_before: number;
  norm_after: number;
  edited: boolean;
  last_version: number;
  overlays: string[];
}
export interface Plan {
  version: number;
  rows_changed: number;
  rows: PlanRow[];
  ngrams: { text?: string; tokens: number[]; count: number; rows: number }[];
  ngrams_found: number;
  ngram_sample: number; // 0: no text was indexed
}
export interface Commit {
  version: number;
  parent: number;
  kind: 'commit' | 'rollback' | 'table_swap';
  author: string;
  note: string;
  actor: string;
  created_unix_ms: number;
  rows: number;
  digest: string;
  restores: number | null;
  edits_kept: boolean;
}
export interface Commits {
  commits: Commit[]; // newest first
  next_before: number | null;
}
export interface Diff {
  from: number;
  to: number;
  total: number;
  rows: { layer: number; row: number; before: Omit<Row, 'row'>; after: Omit<Row, 'row'> }[];
}
export interface OverlaySummary {
  name: string;
  rows: number;
  guarded: number;
  bytes: number;
  created_unix_ms: number;
  expires_unix_ms: number | null;
  keys?: string[]; // names of the keys that it is attached to
}
export interface Overlays {
  overlays: OverlaySummary[];
}
export interface OverlayContent extends OverlaySummary {
  entries: (
    | { layer: number; row: number; values: number[] }
    | { suffix: { compressed: number[] }; memory: Record<string, number[]> }
  )[];
  next_cursor: string | null;
}
export interface OverlayBody {
  entries: (
    | { layer: number; row: number; values: number[] }
    | { suffix: { text: string } | { tokens: number[] }; memory: Record<string, number[]> }
  )[];
  ttl_s?: number;
}

// ---- Operation

export type Scope = 'generate' | 'read' | 'edit' | 'operate';
export interface MemoryStatus {
  model: string;
  has_memory: boolean;
  durable: boolean;
  version: number;
  oldest_version: number;
  base_version: number;
  edited_rows: number;
  overlays: number;
  overlay_bytes: number;
  running_job: string;
}
export interface Status {
  version: string;
  state: string;
  models: { name: string; state: string; default: boolean }[];
  queued: number;
  running: number;
  uptime_s: number;
}
export interface AdminModel {
  name: string;
  state: string;
  default: boolean;
  directory: string;
  backbone: { name: string; path: string };
  tiers: { name: string; path: string }[];
  loaded_at: number | null;
  device?: string;
  weight_type?: string;
  max_model_len?: number;
  engram_layers?: number[];
  memory?: { weights_bytes: number; tiers_bytes: number; kv_bytes: number };
  running?: number;
}
export interface AdminModels {
  models: AdminModel[];
}
export interface Plugin {
  kind: 'backbone' | 'tier';
  name: string;
  version: string;
  path: string;
  sha256: string;
  used_by: { model: string; as: string }[];
}
export interface Plugins {
  plugins: Plugin[];
}
export interface Accepted {
  operation: number;
}
export interface Operation {
  id: number;
  kind: string;
  target: string;
  path: string;
  state: string;
  cancelling: boolean; // it runs and was asked to end
  stage: string;
  progress: number; // 0 to 1
  error: { message: string } | null;
  created_unix_ms: number;
  started_unix_ms: number | null;
  finished_unix_ms: number | null;
}
export interface MemoryEvent {
  number: number;
  unix_ms: number;
  kind: string;
  model: string;
  version: number;
  rows: number;
  overlay: string | null;
}
export interface Operations {
  operations: Operation[];
}

// ---- Where rows live

export interface Tier {
  name: string;
  kind: string;
  plugin: string;
  cache: boolean;
  model: string;
  table: number; // the layer
  capacity_bytes: number; // 0: no limit
  resident_bytes: number;
  reads: number;
  rows: number;
  bytes: number;
  hits: number;
  misses: number;
  fills: number;
  evictions: number;
  errors: number;
  queue_depth: number;
  read_latency: {
    count: number;
    p50_us: number;
    p99_us: number;
    buckets: { from_us: number; count: number }[];
  } | null;
}
export interface LayerRows {
  model: string;
  layer: number;
  num_rows: number;
  row_bytes: number;
  rows_requested: number;
  rows_read: number;
  stall_seconds: number;
  gather_seconds: number;
}
export interface Tiers {
  tiers: Tier[]; // of each table in the order they are asked
  layers: LayerRows[];
  warm_ups: { model: string; done: boolean; rows: number; rows_total: number }[];
  warm_up: { state: 'none' | 'running' | 'done' | 'failed'; rows_done: number; rows_total: number }; // of all models
}

// ---- Gates

export interface GateSummary {
  count: number;
  mean: number;
  p50: number;
  p95: number;
  histogram: number[]; // equal parts of [0, 1]
}
export interface TopNgram {
  text?: string;
  tokens?: number[];
  hash?: string;
  order?: number;
  count: number;
  mass?: number;
}
export interface Gates {
  counting: boolean;
  layers: { layer: number; streams: GateSummary[]; top_ngrams?: TopNgram[] }[];
}

// ---- A close look

export interface InspectBody {
  model?: string;
  prompt: string | number[];
  engram?: EngramOptions;
  from?: number; // position
  top?: number;
  compare?: boolean;
}
export interface LensLayer {
  layer: number;
  kl: number; // to what the last layer says
  top: { token: number; text: string; p: number }[];
}
export interface InspectedRow {
  row: number;
  order: number;
  head: number;
  from: string; // where it was read: a tier, a commit, an overlay
  name?: string;
  version?: number;
}
export interface InspectedPosition {
  position: number;
  token: number;
  text: string;
  rows?: Record<string, InspectedRow[]>; // by layer: [column]
  memory_norms?: Record<string, number[]>; // by layer: [stream]; of what was added
  stream_norms?: Record<string, number[]>; // of the stream it was added to
  guarded?: { suffix_tokens: number };
  lens: LensLayer[];
  off?: { lens: LensLayer[] };
}
export interface Inspection {
  positions: InspectedPosition[];
}

export interface Tables {
  tables: {
    layer: number;
    rows: number;
    format: string;
    path: string | null;
    edited_rows: number;
    edited_bytes: number;
    columns: { order: number; head: number; prime: number; offset: number }[];
  }[];
}

// Which rows were asked for, in a sample of the reads.
export interface Heat {
  layer: number;
  rows: number;
  sampled_reads: number;
  sample_rate: number;
  ranges: { first_row: number; end_row: number; reads: number }[];
  curve: { rows_share: number; reads_share: number }[]; // ascending; the most read rows first
}

// ---- Keys

export interface KeyLimits {
  requests_per_second: number | null;
  tokens_per_second: number | null;
}
export interface ApiKey {
  id: string;
  name: string;
  scopes: Scope[];
  prefix: string | null;
  source: 'config' | 'journal';
  created_at: number | null;
  created_by: string | null;
  expires_at: number | null;
  last_used_at: number | null;
  revoked_at: number | null;
  limits: KeyLimits;
  overlays: string[];
}
// Who asks; key is null where none is needed.
export interface Self {
  scopes: Scope[];
  key: Pick<ApiKey, 'id' | 'name' | 'expires_at' | 'limits' | 'overlays'> | null;
}
export interface Keys {
  keys: ApiKey[];
}
export interface NewKey {
  name: string;
  scopes: Scope[];
  overlays?: string[];
  limits?: Partial<KeyLimits>;
  expires_in?: number; // seconds
}
export interface CreatedKey extends ApiKey {
  key: string; // told once
}
export interface AuditFilter {
  limit?: number;
  before?: number;
  key?: string;
  action?: string;
}
export interface AuditEntry {
  id: number;
  time: number;
  key: { id: string; name: string } | null;
  address: string;
  action: string;
  target: string;
  status: number; // of the answer; 499: the client left before it; 0: not over HTTP
  detail: string;
}
export interface Audit {
  entries: AuditEntry[];
  next_before: number | null;
}
