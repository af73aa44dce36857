// SPDX-License-Identifier: Apache-2.0
// From a text to the rows its n-grams read.
import { api } from './api/client';
import { geometryOf, ordersOf, type Geometry } from './geometry';
import { viewTokens, joined, type TokenView } from './tokens';

export interface Found {
  views: TokenView[];
  ids: number[];
  layers: number[];
  rows: number[][][]; // [position][layer][column]
  geometry: Geometry;
}

// One row an n-gram reads. Two texts' rows with the same slot have the same layer, order and head.
export interface Place {
  layer: number;
  row: number;
  slot: string; // positions before the marked one / layer / column
  ngram: string;
  order: number;
  head: number;
}

// Null for a model without rows.
export async function findRows(prompt: string | number[], signal: AbortSignal): Promise<Found | null> {
  const completion = await api.completion(
    { prompt, max_tokens: 0, echo: true, logprobs: 0, return_token_ids: true, engram: { rows: true } },
    signal,
  );
  const choice = completion.choices[0]!;
  const geometry = await geometryOf(completion.model, signal);
  if (!geometry || !choice.engram?.rows) return null;
  return {
    views: viewTokens(choice.logprobs!.tokens),
    ids: choice.prompt_token_ids ?? [],
    layers: choice.engram.layers,
    rows: choice.engram.rows,
    geometry,
  };
}

// The rows of `span` positions that end at `position`, of all layers, each once.
export function placesOf(found: Found, position: number, span: number): Place[] {
  const places = new Map<string, Place>();
  for (let back = Math.min(span, position + 1) - 1; back >= 0; --back) {
    const at = position - back;
    for (const [index, layer] of found.layers.entries()) {
      const columns = found.rows[at]?.[index] ?? [];
      for (const { order, columns: members } of ordersOf(found.geometry, columns.length)) {
        const ngram = joined(found.views.slice(Math.max(0, at - order + 1), at + 1));
        for (const [head, column] of members.entries()) {
          const row = columns[column]!;
          const key = `${layer}/${row}`;
          if (!places.has(key)) places.set(key, { layer, row, slot: `${back}/${layer}/${column}`, ngram, order, head });
        }
      }
    }
  }
  return [...places.values()];
}
