// SPDX-License-Identifier: Apache-2.0
// Light or dark: the system's choice until the user makes one.
const kItem = 'engramd.theme';
const system = matchMedia('(prefers-color-scheme: dark)');

class Theme {
  #chosen = $state<string | null>(localStorage.getItem(kItem));
  #system = $state(system.matches);
  readonly dark = $derived(this.#chosen === null ? this.#system : this.#chosen === 'dark');

  constructor() {
    system.addEventListener('change', (event) => (this.#system = event.matches));
    this.#apply();
  }
  #apply(): void {
    if (this.#chosen) document.documentElement.dataset.theme = this.#chosen;
  }
  toggle(): void {
    this.#chosen = this.dark ? 'light' : 'dark';
    localStorage.setItem(kItem, this.#chosen);
    this.#apply();
  }
}
export const theme = new Theme();

// A token such as "--s1" as the colour it is in the present theme; canvas drawing knows no light-dark().
export function color(token: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
