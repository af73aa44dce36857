// SPDX-License-Identifier: Apache-2.0
// The one poller of the dashboard: /metrics every two seconds, the last hour of what it says in fixed-size series, and
// whether the daemon answers at all. The series outlive a reload of the tab (session storage), not the tab.
import { api, ApiError } from '../api/client';
import { grown, parseMetrics, quantiles, sum, type Reading } from '../api/metrics';
import { asApiError } from './resource.svelte';

const kInterval_ms = 2000;
const kHidden_ms = 10000;
const kPoints = 1800; // an hour
const kItem = 'engramd.series';

const names = [
  'time', 'generated', 'prompt', 'ttft50', 'ttft95', 'tpot50', 'tpot95', 'running', 'queued', 'stall', 'requests', 'errors', 'kv', 'hits',
] as const;
export type Series = (typeof names)[number];
type Table = Record<Series, (number | null)[]>;

export type Connection = 'connecting' | 'live' | 'lost' | 'denied';

class Live {
  connection = $state<Connection>('connecting');
  error = $state.raw<ApiError | null>(null);
  series = $state.raw<Table>(restore());
  reading = $state.raw<Reading | null>(null);
  ready = $state<string>('');
  lastSeen = $state(0);
  retryAt = $state(0);
  // Grows when the connection comes back or the user signs in; pages load their data again.
  epoch = $state(0);

  #before: { reading: Reading; time: number } | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #running = false;
  #metrics = true;

  constructor() {
    addEventListener('pagehide', () => store(this.series));
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible' && this.#running) this.now();
    });
  }
  // `metrics`: the key may read them; without, only whether the daemon answers is looked at.
  start(metrics: boolean): void {
    this.#metrics = metrics;
    if (this.#running) return;
    this.#running = true;
    this.now();
  }
  stop(): void {
    this.#running = false;
    clearTimeout(this.#timer);
  }
  now(): void {
    clearTimeout(this.#timer);
    void this.#poll();
  }
  renew(): void {
    this.epoch += 1;
    this.#before = null;
    this.now();
  }

  async #poll(): Promise<void> {
    const started = performance.now();
    const timeout = AbortSignal.timeout(8000);
    try {
      this.ready = ((await (await api.ready(timeout)).json()) as { status: string }).status;
      if (this.#metrics) this.#take(parseMetrics(await api.metrics(timeout)), performance.now());
      this.#seen(this.#metrics ? 'live' : 'denied');
    } catch (error) {
      this.#fail(asApiError(error));
    }
    clearTimeout(this.#timer);
    if (!this.#running) return;
    const hidden = document.visibilityState !== 'visible';
    const pause = this.#failures > 0 ? Math.min(10000, 500 * 2 ** this.#failures) : hidden ? kHidden_ms : kInterval_ms;
    this.retryAt = Date.now() + pause;
    this.#timer = setTimeout(() => void this.#poll(), Math.max(250, pause - (performance.now() - started)));
  }
  #seen(state: Connection): void {
    if (this.connection === 'lost') this.epoch += 1;
    this.connection = state;
    this.error = null;
    this.#failures = 0;
    this.lastSeen = Date.now();
  }
  #fail(error: ApiError): void {
    // An answer that refuses is still an answer: the daemon is there.
    if (error.status !== 0) {
      this.#seen('denied');
      this.error = error;
      return;
    }
    this.#failures += 1;
    this.error = error;
    this.connection = 'lost';
    this.#before = null;
    this.ready = '';
  }
  #take(reading: Reading, time: number): void {
    const before = this.#before;
    this.reading = reading;
    this.#before = { reading, time };
    if (!before || time - before.time < 200) return;
    const seconds = (time - before.time) / 1000;
    const rate = (name: string, match?: (labels: Record<string, string>) => boolean): number =>
      grown(reading, before.reading, name, match) / seconds;
    const [ttft50, ttft95] = quantiles(reading, before.reading, 'engramd_time_to_first_token_seconds', [0.5, 0.95]);
    const [tpot50, tpot95] = quantiles(reading, before.reading, 'engramd_time_per_output_token_seconds', [0.5, 0.95]);
    const ms = (seconds: number | null | undefined): number | null => (seconds == null ? null : seconds * 1000);
    const hits = grown(reading, before.reading, 'engramd_memory_rows_read_total');
    const first = firstTier(reading);
    const capacity = sum(reading, 'engramd_kv_cache_capacity_tokens');
    const firstHits = grown(reading, before.reading, 'engramd_tier_hits_total', (labels) => labels.tier === first);
    const point: Record<Series, number | null> = {
      time: Math.round(Date.now() / 100) / 10,
      generated: rate('engramd_generated_tokens_total'),
      prompt: rate('engramd_prompt_tokens_total'),
      ttft50: ms(ttft50),
      ttft95: ms(ttft95),
      tpot50: ms(tpot50),
      tpot95: ms(tpot95),
      running: sum(reading, 'engramd_running_sequences'),
      queued: sum(reading, 'engramd_queue_depth'),
      stall: 100 * rate('engramd_memory_stall_seconds_total'),
      requests: rate('engramd_requests_total'),
      errors:
        rate('engramd_requests_total', (labels) => labels.finish_reason === 'error') +
        rate('engramd_http_requests_total', (labels) => /^5/.test(labels.status ?? labels.code ?? '')),
      kv: capacity > 0 ? (100 * sum(reading, 'engramd_kv_cache_used_tokens')) / capacity : null,
      hits: hits > 0 ? (100 * firstHits) / hits : null,
    };
    const next = {} as Table;
    for (const name of names) next[name] = [...this.series[name].slice(1 - kPoints), point[name]];
    this.series = next;
  }
}

// The tier that is asked first: the one with the most rows asked, as each next one sees only misses.
function firstTier(reading: Reading): string {
  const asked = new Map<string, number>();
  for (const { labels, value } of reading.get('engramd_tier_rows_total') ?? []) {
    const tier = labels.tier ?? '';
    asked.set(tier, (asked.get(tier) ?? 0) + value);
  }
  let first = '';
  for (const [tier, rows] of asked) if (first === '' || rows > asked.get(first)!) first = tier;
  return first;
}

function empty(): Table {
  return Object.fromEntries(names.map((name) => [name, []])) as unknown as Table;
}

function restore(): Table {
  try {
    const stored = JSON.parse(sessionStorage.getItem(kItem) ?? 'null') as Table | null;
    const horizon = Date.now() / 1000 - 3600;
    if (!stored || !names.every((name) => Array.isArray(stored[name]))) return empty();
    const first = stored.time.findIndex((time) => (time ?? 0) > horizon);
    if (first < 0) return empty();
    return Object.fromEntries(names.map((name) => [name, stored[name].slice(first)])) as unknown as Table;
  } catch {
    return empty(); // Unreadable: from an older version of this page.
  }
}

function store(series: Table): void {
  const rounded = Object.fromEntries(
    names.map((name) => [name, series[name].map((value) => (value === null ? null : Math.round(value * 100) / 100))]),
  );
  try {
    sessionStorage.setItem(kItem, JSON.stringify(rounded));
  } catch {
    sessionStorage.removeItem(kItem); // Full: the curves start anew after a reload, nothing else is lost.
  }
}

export const live = new Live();
