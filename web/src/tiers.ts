// SPDX-License-Identifier: Apache-2.0
import type { Tier, Tiers } from './api/types';

// A tier over all the tables it serves.
export interface ChainLink extends Omit<Tier, 'table' | 'read_latency'> {
  latency: { p50_us: number; p99_us: number; counts: number[] } | null;
}

// In the order in which tiers are asked.
export function chainOf({ tiers }: Tiers): ChainLink[] {
  const links = new Map<string, { link: ChainLink; buckets: Map<number, number> }>();
  for (const { table: _, read_latency, ...tier } of tiers) {
    const found = links.get(tier.name);
    const entry = found ?? { link: { ...tier, latency: null }, buckets: new Map<number, number>() };
    if (found) {
      for (const name of ['capacity_bytes', 'resident_bytes', 'reads', 'rows', 'bytes', 'hits', 'misses', 'fills', 'evictions', 'errors', 'queue_depth'] as const) {
        entry.link[name] += tier[name];
      }
    }
    for (const { from_us, count } of read_latency?.buckets ?? []) {
      entry.buckets.set(from_us, (entry.buckets.get(from_us) ?? 0) + count);
    }
    links.set(tier.name, entry);
  }
  return [...links.values()].map(({ link, buckets }) => ({ ...link, latency: latencyOf(buckets) }));
}

// Buckets begin at `from_us` and end where the next one begins.
function latencyOf(buckets: Map<number, number>): ChainLink['latency'] {
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  const total = sorted.reduce((sum, [, count]) => sum + count, 0);
  if (total === 0) return null;
  const quantile = (wanted: number): number => {
    let below = 0;
    for (const [from, count] of sorted) {
      below += count;
      if (below >= wanted * total) return from;
    }
    return sorted.at(-1)![0];
  };
  return { p50_us: quantile(0.5), p99_us: quantile(0.99), counts: sorted.map(([, count]) => count) };
}
