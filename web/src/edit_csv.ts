// SPDX-License-Identifier: Apache-2.0
// Edits as CSV: a line is a row, its columns layer, row id and the values. A first line of names, empty lines and those that
// begin with # are passed over; semicolons and tabs separate as commas do.
import type { Messages } from './i18n/en';

export interface CsvRow {
  layer: number;
  row: number;
  values: number[];
  line: number; // from 1
}

const kMostShown = 40;

// Throws an Error that names line and column, and what is wrong there, in the language of `m`.
export function parseCsv(text: string, m: Messages['edit']['csv']): CsvRow[] {
  const rows: CsvRow[] = [];
  const places = new Map<string, number>();
  let separator = '';
  let named = false; // the first line had names
  for (const [index, raw] of text.replace(/^\ufeff/, '').split(/\r\n|\r|\n/).entries()) {
    const line = index + 1;
    if (raw.trim() === '' || raw.trimStart().startsWith('#')) continue;
    separator ||= [';', '\t', ','].find((one) => raw.includes(one)) ?? ',';
    const cells = raw.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, '$1'));
    const fail = (column: number, what: (cell: string) => string): never => {
      const cell = cells[column - 1] ?? '';
      throw new Error(m.at(line, column, what(cell.length > kMostShown ? `${cell.slice(0, kMostShown)}…` : cell)));
    };
    const whole = (column: number): number => {
      const cell = cells[column - 1] ?? '';
      const value = Number(cell);
      return /^\d+$/.test(cell) && Number.isSafeInteger(value) ? value : fail(column, m.noId);
    };
    if (rows.length === 0 && !named && /^layer$/i.test(cells[0]!)) {
      if (!/^row$/i.test(cells[1] ?? '')) fail(2, m.noRowName);
      named = true;
      continue;
    }
    const [layer, row] = [whole(1), whole(2)];
    const values = cells.slice(2).map((cell, at) => (cell !== '' && Number.isFinite(Number(cell)) ? Number(cell) : fail(at + 3, m.noNumber)));
    if (values.length === 0) fail(3, () => m.noValues);
    const place = `${layer}/${row}`;
    const earlier = places.get(place);
    if (earlier !== undefined) fail(2, () => m.twice(layer, row, earlier));
    places.set(place, line);
    rows.push({ layer, row, values, line });
  }
  if (rows.length === 0) throw new Error(m.empty);
  return rows;
}

// That there are such rows: `tables` has the number of rows by layer.
export function checkPlaces(rows: CsvRow[], tables: Map<number, number>, m: Messages['edit']['csv']): void {
  for (const { layer, row, line } of rows) {
    const size = tables.get(layer);
    if (size === undefined) throw new Error(m.at(line, 1, m.noLayer(layer, [...tables.keys()].join(', '))));
    if (row >= size) throw new Error(m.at(line, 2, m.noRow(row, size)));
  }
}
// That each has as many values as a row of its layer (`width`).
export function checkWidths(rows: CsvRow[], width: (row: CsvRow) => number, m: Messages['edit']['csv']): void {
  for (const row of rows) {
    const wanted = width(row);
    if (row.values.length !== wanted) throw new Error(m.at(row.line, 2 + Math.min(row.values.length, wanted) + 1, m.count(row.values.length, wanted)));
  }
}
