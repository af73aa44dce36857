// SPDX-License-Identifier: Apache-2.0
// The reference vectors over HTTP: same tokens, gates and rows, one request at a time and all at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Daemon, expected, vectorModels } from './daemon.mjs';

const request = (testCase, engram = {}) => ({
  prompt: testCase.prompt,
  max_tokens: testCase.greedy.length,
  temperature: 0,
  ignore_eos: true,
  return_token_ids: true,
  engram,
});

function checkGates(choice, testCase, layers) {
  assert.deepEqual(choice.engram.layers.map(String), layers);
  // Every processed position: the prompt and all generated tokens but the last.
  assert.equal(choice.engram.gates.length, testCase.prompt.length + testCase.greedy.length - 1);
  layers.forEach((layer, l) => {
    testCase.gates[layer].forEach((want, position) => {
      const got = choice.engram.gates[position][l];
      assert.equal(got.length, want.length);
      want.forEach((gate, stream) => {
        assert.ok(Math.abs(got[stream] - gate) < 1e-4, `layer ${layer} position ${position}: ${got[stream]} != ${gate}`);
      });
    });
    testCase.rows[layer].forEach((want, position) => assert.deepEqual(choice.engram.rows[position][l], want));
  });
}

for (const name of vectorModels) {
  test(name, async (t) => {
    const daemon = await Daemon.start({ model: name });
    t.after(() => daemon.stop());
    const { cases } = expected(name);
    const layers = Object.keys(cases[0].gates ?? {});
    const check = (choice, testCase) => {
      assert.deepEqual(choice.token_ids, testCase.greedy);
      assert.deepEqual(choice.prompt_token_ids, testCase.prompt);
      assert.equal(choice.finish_reason, 'length');
    };

    await t.test('one by one', async () => {
      for (const testCase of cases) {
        const { status, json } = await daemon.post('/v1/completions', request(testCase, { gates: true, rows: true }));
        assert.equal(status, 200, JSON.stringify(json));
        check(json.choices[0], testCase);
        assert.equal(json.engram.memory_version, 0);
        if (layers.length > 0) checkGates(json.choices[0], testCase, layers);
      }
    });
    await t.test('in one request', async () => {
      const all = { ...request(cases[0], { gates: true, rows: true }), prompt: cases.map((c) => c.prompt) };
      const { json } = await daemon.post('/v1/completions', all);
      assert.equal(json.choices.length, cases.length);
      json.choices.forEach((choice, i) => {
        assert.equal(choice.index, i);
        check(choice, cases[i]);
        if (layers.length > 0) checkGates(choice, cases[i], layers);
      });
    });
    await t.test('streamed, all at once', async () => {
      await Promise.all(cases.map(async (testCase) => {
        const events = await daemon.stream('/v1/completions', request(testCase, { gates: true, rows: true }));
        assert.equal(events.pop(), '[DONE]');
        assert.deepEqual(events.flatMap((event) => event.choices[0].token_ids), testCase.greedy);
        assert.deepEqual(events[0].choices[0].prompt_token_ids, testCase.prompt);
        const last = events.at(-1);
        assert.equal(last.engram.memory_version, 0);
        if (layers.length > 0) checkGates(last.choices[0], testCase, layers);
      }));
    });
    await t.test('prompt log probabilities', async () => {
      for (const testCase of cases.filter((c) => c.logprobs.length > 0)) {
        const { json } = await daemon.post('/v1/completions', {
          ...request(testCase), max_tokens: 0, echo: true, logprobs: 0,
        });
        const { token_logprobs: logprobs } = json.choices[0].logprobs;
        assert.equal(logprobs.length, testCase.prompt.length);
        assert.equal(logprobs[0], null);
        testCase.logprobs.forEach((want, i) => assert.ok(Math.abs(logprobs[i + 1] - want) < 1e-3));
      }
    });
    if (layers.length > 0) {
      await t.test('memory switched off, together with memory on', async () => {
        const answers = await Promise.all(cases.flatMap((testCase) => [
          daemon.post('/v1/completions', request(testCase, { enabled: false })),
          daemon.post('/v1/completions', request(testCase)),
        ]));
        cases.forEach((testCase, i) => {
          assert.deepEqual(answers[2 * i].json.choices[0].token_ids, testCase.greedy_engram_off);
          assert.deepEqual(answers[2 * i + 1].json.choices[0].token_ids, testCase.greedy);
        });
      });
    }
  });
}
