// SPDX-License-Identifier: Apache-2.0
import { api } from './api/client';

// How the columns of a position divide into orders and heads: column (order - 2) * heads + head.
export interface Geometry {
  heads: number; // per order
  maxOrder: number;
}

export interface Order {
  order: number;
  columns: number[];
}

export function ordersOf({ heads }: Geometry, numColumns: number): Order[] {
  const orders: Order[] = [];
  for (let from = 0; from < numColumns; from += heads) {
    const columns = Array.from({ length: Math.min(heads, numColumns - from) }, (_, head) => from + head);
    orders.push({ order: 2 + from / heads, columns });
  }
  return orders;
}

const known = new Map<string, Geometry>();

// The geometry of a model, found out by asking: two prompts that share only their last two tokens read the same rows
// for order 2 and others for every higher one. null: the model has no rows.
export async function geometryOf(model: string, signal: AbortSignal): Promise<Geometry | null> {
  const found = known.get(model);
  if (found) return found;
  let heads = 0;
  let columns = 0;
  // Two tokens may fold into the same compressed id, and then all columns agree; three pairs will not.
  for (const first of [300, 700, 1100]) {
    const prompt = [[first, 500, 600], [first + 100, 500, 600]];
    const completion = await api.completion({ prompt, max_tokens: 0, echo: true, engram: { rows: true } }, signal);
    const [one, other] = completion.choices.map((choice) => choice.engram?.rows?.[2]?.[0]);
    if (!one?.length || !other) return null;
    columns = one.length;
    heads = one.filter((row, column) => row === other[column]).length;
    if (heads < columns) break;
  }
  if (heads === 0 || columns % heads !== 0) return null;
  const geometry = { heads, maxOrder: columns / heads + 1 };
  known.set(model, geometry);
  return geometry;
}
