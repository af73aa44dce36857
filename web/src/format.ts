// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them.

// Making a formatter takes longer than everything else here, and tables and hovering ask for hundreds of numbers at once.
const formats = new Map<string, Intl.NumberFormat>();
function written(value: number, maximumSignificantDigits?: number, notation?: 'compact'): string {
  const name = `${maximumSignificantDigits} ${notation}`;
  let format = formats.get(name);
  if (!format) formats.set(name, (format = new Intl.NumberFormat('en-US', { maximumSignificantDigits, notation })));
  return format.format(value);
}

export function number(value: number | null | undefined, digits = 3): string {
  if (value == null || Number.isNaN(value)) return '–';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e15)) return value.toExponential(2);
  if (Number.isInteger(value)) return written(value);
  return written(value, size >= 1000 ? 4 : digits);
}

export function compact(value: number | null | undefined): string {
  if (value == null) return '–';
  if (Math.abs(value) < 10000) return number(value);
  return written(value, 3, 'compact');
}

export function bytes(value: number | null | undefined): string {
  if (value == null) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${number(value)} ${units[unit]}`;
}

export function percent(share: number | null | undefined): string {
  if (share == null || Number.isNaN(share)) return '–';
  return `${written(share * 100, 3)} %`;
}

export function seconds(value: number | null | undefined): string {
  if (value == null) return '–';
  if (value < 1e-3) return `${number(value * 1e6)} µs`;
  if (value < 1) return `${number(value * 1e3)} ms`;
  if (value < 120) return `${number(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172800) return `${number(value / 3600)} h`;
  return `${Math.round(value / 86400)} d`;
}

// Milliseconds since 1970; times come as seconds or milliseconds since 1970, or ISO text. null: none, or no time.
export function time(value: number | string | null | undefined): number | null {
  if (value == null || value === '') return null;
  const at = typeof value === 'number' ? (value > 1e11 ? value : value * 1000) : Date.parse(value);
  return Number.isNaN(at) ? null : at;
}

export function date(value: number | string | null | undefined): string {
  const ms = time(value);
  if (ms === null) return value ? String(value) : '–';
  const at = new Date(ms);
  const two = (part: number): string => String(part).padStart(2, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
