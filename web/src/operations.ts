// SPDX-License-Identifier: Apache-2.0
import type { Operation } from './api/types';

export const isOver = ({ state }: Operation): boolean => ['succeeded', 'failed', 'cancelled'].includes(state);

// The colour of a state's badge: of operations, models and keys.
export function toneOf(state: string): '' | 'good' | 'warn' | 'bad' {
  if (['ready', 'serving', 'succeeded', 'active'].includes(state)) return 'good';
  if (['failed', 'revoked'].includes(state)) return 'bad';
  return state === 'cancelled' ? '' : 'warn';
}
