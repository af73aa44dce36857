// SPDX-License-Identifier: Apache-2.0
// Every HTTP request of the dashboard goes through here: the key is added, errors become ApiError, nothing else does
// either. Shapes: types.ts.
import type * as T from './types';

export type Failure = 'offline' | 'unauthorized' | 'forbidden' | 'missing' | 'conflict' | 'busy' | 'failed';

export class ApiError extends Error {
  constructor(
    readonly failure: Failure,
    readonly status: number,
    message: string,
    readonly param: string | null = null,
  ) {
    super(message);
  }
}

const kKeyItem = 'engramd.key';

// The key lives in this tab's session storage and nowhere else.
export const key = {
  get: (): string => sessionStorage.getItem(kKeyItem) ?? '',
  set: (value: string): void => (value ? sessionStorage.setItem(kKeyItem, value) : sessionStorage.removeItem(kKeyItem)),
};

const kModelItem = 'engramd.model';

// The served model that requests are for; empty: the daemon's default. This tab's choice, too.
export const model = {
  get: (): string => sessionStorage.getItem(kModelItem) ?? '',
  set: (value: string): void => (value ? sessionStorage.setItem(kModelItem, value) : sessionStorage.removeItem(kModelItem)),
};
const chosen = (): string | undefined => model.get() || undefined;

function failureOf(status: number): Failure {
  if (status === 401) return 'unauthorized';
  if (status === 403) return 'forbidden';
  if (status === 404 || status === 405 || status === 501) return 'missing';
  if (status === 409 || status === 412) return 'conflict';
  if (status === 429 || status === 503) return 'busy';
  return 'failed';
}

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => '');
  let message = text.slice(0, 500) || `${response.status} ${response.statusText}`;
  let param: string | null = null;
  try {
    const error = (JSON.parse(text) as T.ErrorBody).error;
    message = error.message;
    param = error.param;
  } catch {
    // Not one of the daemon's own errors (a proxy's page, an empty body): the status and the text are all there is.
  }
  return new ApiError(failureOf(response.status), response.status, message, param);
}

export interface RequestOptions {
  method?: string;
  body?: unknown; // sent as JSON; a Blob as the safetensors file it is
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

// The response of a request that succeeded; throws ApiError, or an AbortError when `signal` fired.
export async function send(path: string, options: RequestOptions = {}): Promise<Response> {
  const headers: Record<string, string> = { ...options.headers };
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  const isFile = options.body instanceof Blob;
  if (options.body !== undefined) headers['content-type'] = isFile ? 'application/x-safetensors' : 'application/json';
  let response: Response;
  try {
    response = await fetch(path, {
      method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
      headers,
      body: options.body === undefined ? undefined : isFile ? (options.body as Blob) : JSON.stringify(options.body),
      signal: options.signal,
      cache: 'no-store',
      credentials: 'same-origin',
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError('offline', 0, error instanceof Error ? error.message : String(error));
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export async function json<R>(path: string, options: RequestOptions = {}): Promise<R> {
  const response = await send(path, options);
  return (response.status === 204 ? null : await response.json()) as R;
}

const query = (values: Record<string, string | number | undefined>): string => {
  const set = Object.entries(values).filter(([, value]) => value !== undefined && value !== '');
  return set.length ? '?' + new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString() : '';
};
const ofModel = (values: Record<string, string | number | undefined> = {}): string => query({ ...values, model: chosen() });
const at = (name: string): string => encodeURIComponent(name);

export const api = {
  ready: (signal?: AbortSignal): Promise<Response> => fetch('/health/ready', { signal, cache: 'no-store' }),
  metrics: async (signal?: AbortSignal): Promise<string> => (await send('/metrics', { signal })).text(),
  models: (signal?: AbortSignal) => json<T.ModelList>('/v1/models', { signal }),
  completion: (body: T.GenerationBody, signal?: AbortSignal) => json<T.Completion>('/v1/completions', { body: { model: chosen(), ...body }, signal }),

  status: (signal?: AbortSignal) => json<T.Status>('/admin/v1/status', { signal }),
  memory: (signal?: AbortSignal) => json<T.MemoryStatus>('/admin/v1/journal' + ofModel(), { signal }),
  tables: (signal?: AbortSignal) => json<T.Tables>('/admin/v1/tables' + ofModel(), { signal }),
  tiers: (signal?: AbortSignal) => json<T.Tiers>('/admin/v1/tiers', { signal }),
  heat: (layer: number, signal?: AbortSignal) => json<T.Heat>('/admin/v1/tiers/heat' + ofModel({ layer }), { signal }),
  gates: (signal?: AbortSignal) => json<T.Gates>('/admin/v1/gates' + ofModel(), { signal }),
  inspect: (body: T.InspectBody, signal?: AbortSignal) =>
    json<T.Inspection>('/admin/v1/inspect', { body: { model: chosen(), ...body }, signal }),

  rows: (layer: number, ids: number[], asOf?: number, signal?: AbortSignal) =>
    json<T.Rows>('/admin/v1/rows' + ofModel({ layer, ids: ids.join(','), as_of: asOf }), { signal }),
  commits: (before?: number, signal?: AbortSignal) => json<T.Commits>('/admin/v1/commits' + ofModel({ before }), { signal }),
  diff: (from: number, to: number, signal?: AbortSignal) =>
    json<T.Diff>('/admin/v1/commits/diff' + ofModel({ from, to }), { signal }),
  commit: (body: T.CommitBody) => json<T.Committed>('/admin/v1/commits' + ofModel(), { body }),
  plan: (body: T.CommitBody) => json<T.Plan>('/admin/v1/commits' + ofModel(), { body: { ...body, plan: true } }),
  commitFile: (file: Blob) => json<T.Committed>('/admin/v1/commits' + ofModel(), { body: file }),
  planFile: (file: Blob) => json<T.Plan>('/admin/v1/commits' + ofModel(), { body: file }), // whose metadata asks for a plan
  rollback: (to: number, note: string) => json<T.Committed>('/admin/v1/rollback' + ofModel(), { body: { to, note } }),
  overlays: (signal?: AbortSignal) => json<T.Overlays>('/admin/v1/overlays' + ofModel(), { signal }),
  overlay: (name: string, signal?: AbortSignal) =>
    json<T.OverlayContent>(`/admin/v1/overlays/${at(name)}` + ofModel({ limit: 50 }), { signal }),
  putOverlay: (name: string, body: T.OverlayBody) =>
    json<unknown>(`/admin/v1/overlays/${at(name)}` + ofModel(), { method: 'PUT', body }),
  deleteOverlay: (name: string) => json<unknown>(`/admin/v1/overlays/${at(name)}` + ofModel(), { method: 'DELETE' }),
  compact: () => json<T.Accepted>('/admin/v1/compact' + ofModel(), { method: 'POST' }),
  ngramIndex: (path: string) => json<T.Accepted>('/admin/v1/ngram-index', { body: { path, model: chosen() } }),
  backup: (directory: string) => json<T.Accepted>('/admin/v1/backup', { body: { directory, model: chosen() } }),

  adminModels: (signal?: AbortSignal) => json<T.AdminModels>('/admin/v1/models', { signal }),
  plugins: (signal?: AbortSignal) => json<T.Plugins>('/admin/v1/plugins', { signal }),
  loadModel: (directory: string, name?: string) =>
    json<T.Accepted>('/admin/v1/models/load', { body: { model: directory, name } }),
  swapModel: (name: string, directory: string) =>
    json<T.Accepted>('/admin/v1/models/swap', { body: { model: directory, name } }),
  unloadModel: (name: string) => json<T.Accepted>('/admin/v1/models/unload', { body: { name } }),
  swapPlugin: (name: string, path: string, of: string) =>
    json<T.Accepted>('/admin/v1/plugins/swap', { body: { name, path, model: of } }),
  operations: (signal?: AbortSignal) => json<T.Operations>('/admin/v1/operations', { signal }),
  cancelOperation: (id: number) => json<T.Operation>(`/admin/v1/operations/${id}`, { method: 'DELETE' }),
  config: (signal?: AbortSignal) => json<Record<string, unknown>>('/admin/v1/config', { signal }),

  // The key that asks, and what it may do.
  self: (signal?: AbortSignal) => json<T.Self>('/admin/v1/keys/self', { signal }),
  keys: (signal?: AbortSignal) => json<T.Keys>('/admin/v1/keys', { signal }),
  createKey: (body: T.NewKey) => json<T.CreatedKey>('/admin/v1/keys', { body }),
  revokeKey: (id: string) => json<unknown>(`/admin/v1/keys/${at(id)}`, { method: 'DELETE' }),
  audit: (filter: T.AuditFilter, signal?: AbortSignal) =>
    json<T.Audit>('/admin/v1/audit' + query({ ...filter }), { signal }),
};
