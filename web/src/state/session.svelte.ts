// SPDX-License-Identifier: Apache-2.0
// Who is at the screen, as far as the server tells: whether it asks for a key, and what the key may do. This only hides
// what would be refused anyway; the server is what refuses.
import { api, key } from '../api/client';
import type { MemoryStatus, Scope, Status } from '../api/types';
import { live } from './live.svelte';
import { models } from './models.svelte';
import { asApiError } from './resource.svelte';

export type Entry = 'asking' | 'open' | 'signed-out' | 'signed-in' | 'offline';

class Session {
  entry = $state<Entry>('asking');
  scopes = $state.raw<Set<Scope>>(new Set());
  status = $state.raw<Status | null>(null);
  memory = $state.raw<MemoryStatus | null>(null);

  may(scope: Scope): boolean {
    return this.scopes.has(scope);
  }

  // Asks the server again; 'signed-out' means that it wants a (better) key.
  async check(): Promise<Entry> {
    const signedIn = key.get() !== '';
    try {
      this.scopes = new Set((await api.self()).scopes);
    } catch (failure) {
      return (this.entry = asApiError(failure).failure === 'unauthorized' ? 'signed-out' : 'offline');
    }
    try {
      if (this.may('generate')) models.take((await api.models()).data.map(({ id }) => id));
    } catch (failure) {
      if (asApiError(failure).failure === 'offline') return (this.entry = 'offline');
      // Any other answer (503: no model yet) is one to a known key.
    }
    await this.refresh();
    return (this.entry = signedIn ? 'signed-in' : 'open');
  }

  // What several pages show of the daemon's state. What this server or key does not give is left out there.
  async refresh(): Promise<void> {
    if (!this.may('read')) return;
    const asked = key.get();
    try {
      this.status = await api.status();
      models.take(this.status.models.filter(({ state }) => state === 'serving').map(({ name }) => name));
    } catch (failure) {
      this.status = null;
      // Not if another key was put in while this was under way.
      if (asApiError(failure).failure === 'unauthorized' && key.get() === asked) this.entry = 'signed-out';
    }
    try {
      this.memory = await api.memory();
    } catch {
      this.memory = null;
    }
  }

  async signIn(value: string): Promise<Entry> {
    const former = key.get();
    key.set(value);
    const entry = await this.check();
    if (entry === 'signed-out' || entry === 'offline') key.set(former);
    else live.renew();
    return entry;
  }

  // Loads the page anew, so that nothing of what this key saw stays in it.
  signOut(): void {
    key.set('');
    location.reload();
  }
}
export const session = new Session();
