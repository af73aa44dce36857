// SPDX-License-Identifier: Apache-2.0
// The elements of the token strip: those lines that are in view, and their tokens. Made by hand rather than by a template,
// and used again for the lines that scroll into view: a screenful is hundreds of tokens, and a template's bookkeeping for
// each of them took several frames at every turn of the wheel. Text gets in as text only.
import type { TokenView } from './tokens';

export interface Line {
  from: number; // tokens
  to: number;
}

// What the strip looks like. `lines` and `views` are compared by identity: another array, another text.
export interface Shown {
  views: TokenView[];
  lines: Line[];
  first: number; // line
  last: number; // line after the last
  heat: (position: number) => number | null; // -1 to 1; null: not known
  selected: number;
  fresh: number; // from here on generated
  shown: number; // from here on not yet said
}

export const kLine = 36; // pixels

export class TokenLines {
  readonly #host: HTMLElement;
  readonly #rows = new Map<number, HTMLElement>(); // by line
  readonly #spare: HTMLElement[] = [];
  #now: Shown | null = null;

  constructor(host: HTMLElement) {
    this.#host = host;
  }

  show(next: Shown): void {
    const before = this.#now;
    this.#now = next;
    const same = before !== null && before.lines === next.lines && before.views === next.views;
    for (const [line, row] of this.#rows) {
      if (same && line >= next.first && line < next.last) continue;
      this.#rows.delete(line);
      this.#spare.push(row);
    }
    const redress = same && (before.heat !== next.heat || before.fresh !== next.fresh || before.shown !== next.shown);
    if (redress) for (const [line, row] of this.#rows) this.#dress(row, next.lines[line]!);
    else if (same && before.selected !== next.selected) for (const position of [before.selected, next.selected]) this.#mark(position);
    for (let line = next.first; line < next.last; ++line) {
      if (this.#rows.has(line)) continue;
      const row = this.#spare.pop() ?? this.#newRow();
      this.#fill(row, next.lines[line]!);
      row.style.top = `${line * kLine}px`;
      this.#rows.set(line, row);
    }
    for (const row of this.#spare.splice(0)) row.remove();
  }

  #newRow(): HTMLElement {
    const row = document.createElement('div');
    row.className = 'line';
    row.setAttribute('role', 'presentation');
    this.#host.append(row);
    return row;
  }
  #fill(row: HTMLElement, line: Line): void {
    const { views } = this.#now!;
    const size = String(views.length);
    while (row.childElementCount > line.to - line.from) row.lastElementChild!.remove();
    for (let position = line.from; position < line.to; ++position) {
      let token = row.children[position - line.from] as HTMLElement | undefined;
      if (!token) {
        token = document.createElement('span');
        token.setAttribute('role', 'option');
        row.append(token);
      }
      token.textContent = views[position]!.label;
      token.dataset.at = String(position);
      token.setAttribute('aria-setsize', size);
      token.setAttribute('aria-posinset', String(position + 1));
    }
    this.#dress(row, line);
  }
  #dress(row: HTMLElement, line: Line): void {
    for (let position = line.from; position < line.to; ++position) this.#dressToken(row.children[position - line.from] as HTMLElement, position);
  }
  #dressToken(token: HTMLElement, position: number): void {
    const { views, heat, selected, fresh, shown } = this.#now!;
    const view = views[position]!;
    const value = heat(position);
    const chosen = position === selected;
    token.className =
      `token ${view.kind}` + (chosen ? ' selected' : '') + (position >= fresh ? ' fresh' : '') + (position >= shown ? ' later' : '') +
      (value === null ? ' unknown' : value < 0 ? ' cool' : '');
    // What the list's aria-activedescendant names.
    if (chosen) token.id = `token-${position}`;
    else token.removeAttribute('id');
    token.setAttribute('aria-selected', String(chosen));
    token.setAttribute('aria-label', `${view.part?.text ?? view.label}${value === null ? '' : `, ${value.toFixed(2)}`}`);
    token.style.setProperty('--g', String(Math.abs(value ?? 0)));
  }
  #mark(position: number): void {
    for (const [line, row] of this.#rows) {
      const { from, to } = this.#now!.lines[line]!;
      if (position >= from && position < to) this.#dressToken(row.children[position - from] as HTMLElement, position);
    }
  }
}
