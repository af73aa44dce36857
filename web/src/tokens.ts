// SPDX-License-Identifier: Apache-2.0
// Tokens as things to look at. A token is bytes: its text may be a part of a character, a combining mark, white space,
// or something that would change how the text around it is drawn. All of those get a visible form here, and the result
// is only ever used as text.

export interface TokenView {
  text: string; // as it stands in the text; '' for a part of a character
  label: string; // what is shown
  kind: 'text' | 'bytes' | 'rest' | 'control';
  breaks: boolean; // a line ends after it
  // For kinds bytes and rest: which part of which text.
  part?: { index: number; total: number; text: string };
}

const kBytes = /^bytes:((?:\\x[0-9a-fA-F]{2})+)$/;
const kNewline = /[\r\n]/;

// Marks alone get a base; what cannot be seen, or would turn the reading direction, gets its name.
const kMarkFirst = /^\p{M}/u;
const kInvisible = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\u115f\u1160\u3164\uffa0]/gu;

function visible(character: string): string {
  const code = character.codePointAt(0)!;
  if (character === '\n') return '↵';
  if (character === '\r') return '␍';
  if (character === '\t') return '⇥';
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  return `⟨${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
}

function labelOf(text: string): string {
  const seen = text.replace(kInvisible, visible);
  const based = kMarkFirst.test(seen) ? '◌' + seen : seen;
  // A leading space is a space; nothing but spaces would be an empty chip.
  return /^\s+$/u.test(based) ? based.replace(/\s/gu, '␣') : based;
}

function bytesOf(token: string): number[] | null {
  const found = kBytes.exec(token);
  return found ? [...found[1]!.matchAll(/\\x(..)/g)].map(([, hex]) => parseInt(hex!, 16)) : null;
}

const hex = (bytes: number[]): string => bytes.map((byte) => byte.toString(16).toUpperCase().padStart(2, '0')).join('');

// `tokens`: as the API writes them, "bytes:\xe4\xbd" where one is no UTF-8 by itself.
export function viewTokens(tokens: string[]): TokenView[] {
  const views: TokenView[] = [];
  for (let at = 0; at < tokens.length; ) {
    const first = bytesOf(tokens[at]!);
    if (!first) {
      const text = tokens[at]!;
      const label = labelOf(text);
      views.push({ text, label, kind: label === text ? 'text' : 'control', breaks: kNewline.test(text) });
      at += 1;
      continue;
    }
    // A run of partial tokens is one or more characters together.
    const run = [first];
    while (at + run.length < tokens.length) {
      const next = bytesOf(tokens[at + run.length]!);
      if (!next) break;
      run.push(next);
    }
    at += run.length;
    views.push(...viewRun(run));
  }
  return views;
}

function viewRun(run: number[][]): TokenView[] {
  const views: TokenView[] = [];
  let from = 0;
  for (let to = 1; to <= run.length; ++to) {
    const bytes = run.slice(from, to).flat();
    const text = decode(bytes);
    if (text === null && to < run.length) continue;
    for (let index = from; index < to; ++index) {
      const part = { index: index - from + 1, total: to - from, text: text ?? `⟨${hex(bytes)}⟩` };
      const label = text === null ? `⟨${hex(run[index]!)}⟩` : index === from ? labelOf(text) : '‥';
      views.push({ text: index === from ? (text ?? '') : '', label, kind: index === from ? 'bytes' : 'rest', breaks: false, part });
    }
    from = to;
  }
  return views;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });
function decode(bytes: number[]): string | null {
  try {
    return utf8.decode(new Uint8Array(bytes));
  } catch {
    return null; // Not a whole character yet.
  }
}

export const joined = (views: TokenView[]): string => views.map((view) => view.text || (view.kind === 'bytes' ? view.label : '')).join('');
