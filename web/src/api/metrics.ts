// SPDX-License-Identifier: Apache-2.0
// Prometheus' text format, as far as the daemon uses it, and what can be told from two readings of it.

export interface Sample {
  labels: Record<string, string>;
  value: number;
}
export type Reading = Map<string, Sample[]>;

const kLine = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const kLabel = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const kEscapes: Record<string, string> = { '\\n': '\n', '\\"': '"', '\\\\': '\\' };

export function parseMetrics(text: string): Reading {
  const reading: Reading = new Map();
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    const found = kLine.exec(line);
    if (!found) continue;
    const labels: Record<string, string> = {};
    for (const [, name, value] of (found[2] ?? '').matchAll(kLabel)) {
      labels[name!] = value!.replace(/\\[n"\\]/g, (escape) => kEscapes[escape]!);
    }
    const samples = reading.get(found[1]!);
    const sample = { labels, value: found[3] === '+Inf' ? Infinity : Number(found[3]) };
    if (samples) samples.push(sample);
    else reading.set(found[1]!, [sample]);
  }
  return reading;
}

type Match = (labels: Record<string, string>) => boolean;

export function sum(reading: Reading, name: string, match: Match = () => true): number {
  let total = 0;
  for (const { labels, value } of reading.get(name) ?? []) if (match(labels)) total += value;
  return total;
}

// How much a counter grew; a restarted daemon counts from 0 again.
export function grown(now: Reading, before: Reading, name: string, match?: Match): number {
  const value = sum(now, name, match);
  const growth = value - sum(before, name, match);
  return growth < 0 ? value : growth;
}

// Cumulative buckets of a histogram, by upper bound ascending, summed over everything but `le`.
function buckets(reading: Reading, name: string): Map<number, number> {
  const counts = new Map<number, number>();
  for (const { labels, value } of reading.get(name + '_bucket') ?? []) {
    const bound = labels.le === '+Inf' ? Infinity : Number(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return counts;
}

// The quantiles of what a histogram saw between two readings, linear within a bucket; null where it saw nothing.
export function quantiles(now: Reading, before: Reading | null, name: string, wanted: number[]): (number | null)[] {
  const earlier = before ? buckets(before, name) : new Map<number, number>();
  const bounds = [...buckets(now, name)].sort(([a], [b]) => a - b);
  const counts = bounds.map(([bound, count]) => Math.max(0, count - (earlier.get(bound) ?? 0)));
  const total = counts.at(-1) ?? 0;
  return wanted.map((quantile) => {
    if (total === 0) return null;
    const rank = quantile * total;
    const index = counts.findIndex((count) => count >= rank);
    const low = index > 0 ? bounds[index - 1]![0] : 0;
    const below = index > 0 ? counts[index - 1]! : 0;
    const high = bounds[index]![0];
    if (!Number.isFinite(high)) return low;
    return low + ((high - low) * (rank - below)) / Math.max(1e-9, counts[index]! - below);
  });
}
