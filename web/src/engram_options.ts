// SPDX-License-Identifier: Apache-2.0
import type { EngramOptions } from './api/types';

// The "engram" of a request from what people type; without what is left at its default.
export function engramOptions(asOf: string, overlays: string, more: EngramOptions = {}): EngramOptions {
  const names = overlays.split(/[,\s]+/).filter(Boolean);
  return {
    ...more,
    ...(names.length ? { overlays: names } : {}),
    ...(asOf.trim() === '' ? {} : { as_of: Number(asOf) }),
  };
}
