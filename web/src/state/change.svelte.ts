// SPDX-License-Identifier: Apache-2.0
// The change being prepared on the edit page, one for each served model. It outlives a visit to another page, not the tab.
import { api } from '../api/client';
import type { EditEntry, OverlayBody, Row } from '../api/types';
import type { Place } from '../find_rows';
import { models } from './models.svelte';

export interface RowChange {
  layer: number;
  row: number;
  place: Place | null; // null: picked by id
  before: number[];
  after: number[];
}

const kRowsPerRequest = 200;

// Rows of any layers, by "layer/row".
export async function readRows(wanted: { layer: number; row: number }[], asOf?: number): Promise<Map<string, Row>> {
  const result = new Map<string, Row>();
  for (const layer of new Set(wanted.map((one) => one.layer))) {
    const ids = wanted.filter((one) => one.layer === layer).map((one) => one.row);
    for (let from = 0; from < ids.length; from += kRowsPerRequest) {
      const { rows } = await api.rows(layer, ids.slice(from, from + kRowsPerRequest), asOf);
      for (const row of rows) result.set(`${layer}/${row.row}`, row);
    }
  }
  return result;
}

export const norm = (values: number[]): number => Math.hypot(...values);
export const changed = ({ before, after }: RowChange): boolean => after.some((value, index) => value !== before[index]);

interface Prepared {
  rows: RowChange[];
  // Imported edits of other kinds (by n-gram, of stored bytes, added): taken as they are.
  others: EditEntry[];
}
const kNothing: Prepared = { rows: [], others: [] };

class Change {
  #prepared = $state.raw<Record<string, Prepared>>({});
  readonly rows = $derived((this.#prepared[models.name] ?? kNothing).rows);
  readonly others = $derived((this.#prepared[models.name] ?? kNothing).others);
  readonly size = $derived(this.rows.length + this.others.length);
  readonly changes = $derived(this.rows.filter(changed).length + this.others.length);

  #set(what: Partial<Prepared>): void {
    this.#prepared = { ...this.#prepared, [models.name]: { rows: this.rows, others: this.others, ...what } };
  }
  has(layer: number, row: number): boolean {
    return this.rows.some((one) => one.layer === layer && one.row === row);
  }
  async add(places: (Place | { layer: number; row: number })[]): Promise<void> {
    const fresh = places.filter(({ layer, row }) => !this.has(layer, row));
    const found = await readRows(fresh);
    const added = fresh.map((place): RowChange => {
      const { values } = found.get(`${place.layer}/${place.row}`)!;
      return { layer: place.layer, row: place.row, place: 'slot' in place ? place : null, before: values, after: [...values] };
    });
    this.#set({ rows: [...this.rows, ...added] });
  }
  remove(entry: RowChange): void {
    this.#set({ rows: this.rows.filter((one) => one !== entry) });
  }
  clear(): void {
    this.#set(kNothing);
  }
  // `next` gives a row's new values; undefined leaves it.
  map(next: (entry: RowChange) => number[] | undefined): void {
    this.#set({ rows: this.rows.map((entry) => ({ ...entry, after: next(entry) ?? entry.after })) });
  }
  // Throws an Error that says what is wrong with it.
  async import(text: string): Promise<number> {
    const parsed = JSON.parse(text) as unknown;
    const edits = Array.isArray(parsed) ? parsed : (parsed as { edits?: unknown }).edits;
    if (!Array.isArray(edits)) throw new Error('"edits"?');
    const plain: { layer: number; row: number; values: number[] }[] = [];
    const others: EditEntry[] = [];
    for (const [index, edit] of (edits as EditEntry[]).entries()) {
      if (typeof edit?.layer !== 'number') throw new Error(`edits[${index}].layer`);
      const { layer, row, values } = edit;
      if (row !== undefined && Array.isArray(values) && edit.mode !== 'add') plain.push({ layer, row, values });
      else others.push(edit);
    }
    await this.add(plain);
    const values = new Map(plain.map((one) => [`${one.layer}/${one.row}`, one.values]));
    this.map(({ layer, row }) => values.get(`${layer}/${row}`));
    this.#set({ others: [...this.others, ...others] });
    return edits.length;
  }

  edits(): EditEntry[] {
    return [...this.rows.filter(changed).map(({ layer, row, after }) => ({ layer, row, values: after })), ...this.others];
  }
  overlay(ttl_s?: number): OverlayBody {
    return { entries: this.edits() as OverlayBody['entries'], ...(ttl_s ? { ttl_s } : {}) };
  }
}
export const change = new Change();
