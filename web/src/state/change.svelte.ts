// SPDX-License-Identifier: Apache-2.0
// The change being prepared on the edit page, one for each served model. It outlives a visit to another page, not the tab.
import { api } from '../api/client';
import type { Committed, EditEntry, OverlayBody, Plan, Row } from '../api/types';
import { checkPlaces, checkWidths, parseCsv } from '../edit_csv';
import type { Place } from '../find_rows';
import { readTensorFile, withMetadata, type TensorFile } from '../tensor_file';
import { i18n } from './i18n.svelte';
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
  // Instead of both: a file that is sent as it is.
  file: TensorFile | null;
}
const kNothing: Prepared = { rows: [], others: [], file: null };

export interface Remarks {
  note?: string;
  author?: string;
  if_version: number;
}

class Change {
  #prepared = $state.raw<Record<string, Prepared>>({});
  readonly rows = $derived((this.#prepared[models.name] ?? kNothing).rows);
  readonly others = $derived((this.#prepared[models.name] ?? kNothing).others);
  readonly file = $derived((this.#prepared[models.name] ?? kNothing).file);
  readonly #fileRows = $derived(this.file?.layers.reduce((sum, { rows }) => sum + rows, 0) ?? 0);
  readonly size = $derived(this.rows.length + this.others.length + (this.file ? 1 : 0));
  readonly changes = $derived(this.rows.filter(changed).length + this.others.length + this.#fileRows);

  #set(what: Partial<Prepared>): void {
    this.#prepared = { ...this.#prepared, [models.name]: { rows: this.rows, others: this.others, file: this.file, ...what } };
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
  // The number of edits. Throws an Error that says what is wrong with the file.
  async import(file: File): Promise<number> {
    const kind = /\.(csv|tsv|safetensors)$/i.exec(file.name)?.[1]?.toLowerCase();
    if (this.file || (kind === 'safetensors' && this.size > 0)) throw new Error(i18n.m.edit.tensors.alone);
    if (kind === 'safetensors') {
      this.#set({ file: await readTensorFile(file, i18n.m.edit.tensors) });
      return this.changes;
    }
    return kind ? this.#importCsv(await file.text()) : this.#importJson(await file.text());
  }
  async #importCsv(text: string): Promise<number> {
    const edits = parseCsv(text, i18n.m.edit.csv);
    // Before anything of it is taken.
    const { tables } = await api.tables();
    checkPlaces(edits, new Map(tables.map(({ layer, rows }) => [layer, rows])), i18n.m.edit.csv);
    const layers = new Map(edits.map(({ layer, row }) => [layer, { layer, row }]));
    const examples = await readRows([...layers.values()]);
    const width = new Map([...examples].map(([place, { values }]) => [Number(place.split('/')[0]), values.length]));
    checkWidths(edits, ({ layer }) => width.get(layer)!, i18n.m.edit.csv);
    await this.#take(edits, []);
    return edits.length;
  }
  async #take(plain: { layer: number; row: number; values: number[] }[], others: EditEntry[]): Promise<void> {
    await this.add(plain);
    const values = new Map(plain.map((one) => [`${one.layer}/${one.row}`, one.values]));
    this.map(({ layer, row }) => values.get(`${layer}/${row}`));
    this.#set({ others: [...this.others, ...others] });
  }
  async #importJson(text: string): Promise<number> {
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
    await this.#take(plain, others);
    return edits.length;
  }

  plan(remarks: Remarks): Promise<Plan> {
    return this.file ? api.planFile(this.#signed(this.file, remarks, true)) : api.plan({ edits: this.edits(), ...remarks });
  }
  commit(remarks: Remarks): Promise<Committed> {
    return this.file ? api.commitFile(this.#signed(this.file, remarks, false)) : api.commit({ edits: this.edits(), ...remarks });
  }
  #signed(file: TensorFile, remarks: Remarks, plan: boolean): Blob {
    const told = Object.entries(remarks).filter(([, value]) => value !== undefined);
    return withMetadata(file, { ...Object.fromEntries(told.map(([name, value]) => [name, String(value)])), plan: String(plan) });
  }
  edits(): EditEntry[] {
    return [...this.rows.filter(changed).map(({ layer, row, after }) => ({ layer, row, values: after })), ...this.others];
  }
  overlay(ttl_s?: number): OverlayBody {
    return { entries: this.edits() as OverlayBody['entries'], ...(ttl_s ? { ttl_s } : {}) };
  }
}
export const change = new Change();
