// SPDX-License-Identifier: Apache-2.0
// The models that are served, and the one that pages look at. Requests take it from api/client.ts.
import { model } from '../api/client';

class Models {
  names = $state.raw<string[]>([]); // the default first
  #chosen = $state(model.get());
  // What requests name; empty: none, so the default.
  readonly chosen = $derived(this.names.includes(this.#chosen) ? this.#chosen : '');
  // The chosen one's name, also if that is the default.
  readonly name = $derived(this.chosen || (this.names[0] ?? ''));

  take(served: string[]): void {
    const names = [...new Set(served)];
    // None: the daemon loads its first; what was chosen may come back.
    if (names.length === 0) return;
    if (names.length === this.names.length && names.every((name, at) => name === this.names[at])) return;
    this.names = names;
    // What is gone must not be asked for.
    if (!this.chosen) this.choose('');
  }
  choose(name: string): void {
    this.#chosen = name === this.names[0] ? '' : name;
    model.set(this.#chosen);
  }
}
export const models = new Models();
