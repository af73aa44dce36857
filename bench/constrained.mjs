// SPDX-License-Identifier: Apache-2.0
// What constrained output costs a decode step, over HTTP: one stream with a mask against one without, in turns in one run.
//
//   ENGRAMD_BIN=build/release/bin/engramd node bench/constrained.mjs
//
// MODEL: another model's directory; SETTINGS: --set values for it, separated by spaces; ROUNDS: how many. The first answer
// of each kind, whose states are not known yet, is shown apart.
import path from 'node:path';
import { Daemon, root } from '../tests/e2e/daemon.mjs';

const rounds = Number(process.env.ROUNDS ?? 30);
const maxTokens = 128;
const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const model = path.resolve(process.env.MODEL ?? path.join(root, 'models/lexicon'));
const settings = (process.env.SETTINGS ?? '').split(' ').filter(Boolean);

// None of them ends by itself, so that all make as many tokens.
const kinds = {
  'no mask': {},
  'any text': { grammar: 'root ::= .*' },
  'letters and spaces': { grammar: 'root ::= (" " [a-z]+)*' },
  'lines of JSON': { grammar: 'root ::= ("{\\"name\\": \\"" [^"\\\\\\n]{1,40} "\\", \\"age\\": " [1-9] [0-9]? "}\\n")*' },
  'counted characters': { grammar: 'root ::= .{100000}' },
};

// Milliseconds per token of one stream.
async function decode(daemon, kind) {
  const request = {
    prompt: 'The capital of Mongolia is', max_tokens: maxTokens, temperature: 0, ignore_eos: true, ...kinds[kind],
  };
  const start = performance.now();
  const response = await fetch(`${daemon.url}/v1/completions`, { method: 'POST', body: JSON.stringify(request) });
  const text = await response.text();
  const took = performance.now() - start;
  const { usage } = JSON.parse(text);
  if (response.status !== 200 || usage.completion_tokens !== maxTokens) throw new Error(`${kind}: ${text}`);
  return took / maxTokens;
}

const daemon = await Daemon.start({ model, settings });
try {
  await decode(daemon, 'no mask');
  const first = {};
  const times = {};
  for (const kind of Object.keys(kinds)) {
    first[kind] = await decode(daemon, kind);
    times[kind] = [];
  }
  for (let i = 0; i < rounds; ++i) {
    const names = Object.keys(kinds);
    if (i % 2 === 1) names.reverse();
    for (const kind of names) times[kind].push(await decode(daemon, kind));
  }
  for (const kind of Object.keys(kinds)) {
    const ratio = median(times[kind].map((time, i) => time / times['no mask'][i]));
    console.log(`${kind}: ${median([...times[kind]]).toFixed(4)} ms a token, ratio to no mask ${ratio.toFixed(3)}; ` +
      `the first answer ${first[kind].toFixed(4)} ms a token`);
  }
} finally {
  await daemon.stop();
}
