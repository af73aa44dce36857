// SPDX-License-Identifier: Apache-2.0
// What a page loads from one route: data, an error, or still loading. A newer load overtakes an older one.
import { ApiError } from '../api/client';

export class Resource<R> {
  data = $state.raw<R | null>(null);
  error = $state.raw<ApiError | null>(null);
  loading = $state(false);
  #abort: AbortController | null = null;

  constructor(readonly fetcher: (signal: AbortSignal) => Promise<R>) {}

  async load(): Promise<void> {
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    this.loading = true;
    try {
      const data = await this.fetcher(abort.signal);
      if (abort.signal.aborted) return;
      this.data = data;
      this.error = null;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = asApiError(error);
    } finally {
      if (this.#abort === abort) this.loading = false;
    }
  }
  stop(): void {
    this.#abort?.abort();
  }
}

export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError('failed', 0, error instanceof Error ? error.message : String(error));
}

// Loads now and then every `interval_ms` while the page is visible; returns what stops it (for $effect).
export function poll(resources: { load(): Promise<void>; stop(): void }[], interval_ms: number): () => void {
  const tick = (): void => {
    if (document.visibilityState === 'visible') for (const resource of resources) void resource.load();
  };
  for (const resource of resources) void resource.load();
  const timer = setInterval(tick, interval_ms);
  return () => {
    clearInterval(timer);
    for (const resource of resources) resource.stop();
  };
}
