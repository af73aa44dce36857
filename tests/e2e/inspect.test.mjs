// SPDX-License-Identifier: Apache-2.0
// Gate statistics and inspection against the reference vectors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Daemon, expected, vectorModels } from './daemon.mjs';

const near = (got, want, tolerance, what) =>
  assert.ok(Math.abs(got - want) <= tolerance, `${what}: ${got} is not ${want}`);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

for (const name of vectorModels) {
  test(name, async (t) => {
    const daemon = await Daemon.start({ model: name });
    t.after(() => daemon.stop());
    const { cases } = expected(name);
    const layers = Object.keys(cases[0].gates ?? {});

    await t.test('inspection shows the reference\'s gates, rows and logits', async () => {
      for (const testCase of cases) {
        const { status, json } = await daemon.post('/admin/v1/inspect', { prompt: testCase.prompt, top: 3 });
        assert.equal(status, 200, JSON.stringify(json));
        assert.deepEqual(json.tokens, testCase.prompt);
        assert.deepEqual(json.engram_layers.map(String), layers);
        assert.equal(json.positions.length, testCase.prompt.length);
        json.positions.forEach((position, p) => {
          assert.equal(position.lens.length, json.num_layers);
          assert.equal(position.lens.at(-1).kl, 0);
          assert.ok(position.lens.every((layer) => layer.kl >= 0 && layer.top.length === 3));
          for (const layer of layers) {
            assert.equal(position.gates[layer].length, json.num_streams);
            testCase.gates[layer][p].forEach((want, s) => near(position.gates[layer][s], want, 1e-4, `gate ${p}`));
            assert.deepEqual(position.rows[layer].map((row) => row.row), testCase.rows[layer][p]);
            assert.ok(position.rows[layer].every((row) => row.from === 'tier' && row.name === 'dram'));
            assert.ok(position.memory_norms[layer].every((norm) => norm > 0));
            assert.ok(position.stream_norms[layer].every((norm) => norm > 0));
          }
          assert.equal('off' in position, layers.length > 0);
        });
        // The likeliest next token after the prompt is the first greedy one; without memory, that of the run without.
        const last = json.positions.at(-1);
        assert.equal(last.lens.at(-1).top[0].token, testCase.greedy[0]);
        if (layers.length > 0) {
          assert.equal(last.off.lens.at(-1).top[0].token, testCase.greedy_engram_off[0]);
        }
      }
    });

    await t.test('a window of a prompt is as in the whole', async () => {
      const { prompt } = cases.reduce((longest, testCase) => (testCase.prompt.length > longest.prompt.length ? testCase : longest));
      const whole = (await daemon.post('/admin/v1/inspect', { prompt })).json.positions;
      const half = Math.floor(prompt.length / 2);
      for (const [from, count] of [[0, 1], [1, 2], [half, 3], [prompt.length - 1, 1], [half, undefined], [1, 100_000]]) {
        const end = Math.min(prompt.length, from + (count ?? prompt.length));
        const { status, json } = await daemon.post('/admin/v1/inspect', { prompt, from, count });
        assert.equal(status, 200, JSON.stringify(json));
        assert.deepEqual(json.tokens, prompt.slice(0, end));
        assert.deepEqual(json.positions.map(({ position }) => position), prompt.slice(from, end).map((_, at) => from + at));
        json.positions.forEach((position, at) => {
          const wanted = whole[from + at];
          assert.equal(position.token, wanted.token);
          assert.deepEqual(position.rows, wanted.rows);
          for (const layer of layers) {
            position.gates[layer].forEach((gate, s) => near(gate, wanted.gates[layer][s], 1e-4, `gate ${from + at}`));
            position.memory_norms[layer].forEach((norm, s) => near(norm, wanted.memory_norms[layer][s], 1e-3, `norm ${from + at}`));
          }
          position.lens.forEach(({ kl, top }, layer) => {
            near(kl, wanted.lens[layer].kl, 1e-3, `kl ${from + at}`);
            near(top[0].p, wanted.lens[layer].top[0].p, 1e-3, `p ${from + at}`);
          });
          assert.equal('off' in position, 'off' in wanted);
        });
      }
    });

    if (layers.length === 0) {
      await t.test('a plain model has no gates to count', async () => {
        assert.equal((await daemon.get('/admin/v1/gates')).status, 400);
      });
      return;
    }

    await t.test('statistics equal the reference\'s gates', async () => {
      assert.equal((await daemon.get('/admin/v1/gates')).json.tokens, 0, 'inspection is not use');
      for (const testCase of cases) {
        const { status } = await daemon.post('/v1/completions', { prompt: testCase.prompt, max_tokens: 0, echo: true });
        assert.equal(status, 200);
      }
      const { json } = await daemon.get('/admin/v1/gates?top=5');
      const tokens = cases.reduce((sum, testCase) => sum + testCase.prompt.length, 0);
      assert.equal(json.tokens, tokens);
      json.layers.forEach((layer, l) => {
        assert.equal(String(layer.layer), layers[l]);
        layer.streams.forEach((stream, s) => {
          const want = cases.flatMap((testCase) => testCase.gates[layers[l]].map((gates) => gates[s]));
          assert.equal(stream.count, want.length);
          near(stream.mean, mean(want), 1e-4, 'mean');
          assert.equal(stream.histogram.reduce((sum, count) => sum + count, 0), want.length);
          const sorted = [...want].sort((a, b) => a - b);
          near(stream.p50, sorted[Math.floor(want.length / 2)], 0.05, 'median');
          assert.deepEqual(layer.window[s], stream);
        });
        near(layer.orders.reduce((sum, order) => sum + order.share, 0), 1, 1e-6, 'shares');
        assert.ok(layer.top_ngrams.length > 0 && layer.top_ngrams.length <= 5);
      });
      assert.equal((await daemon.post('/admin/v1/gates/reset', {})).status, 200);
      assert.equal((await daemon.get('/admin/v1/gates')).json.tokens, 0);
    });

    await t.test('paused, nothing is counted, and who asks for gates gets them', async () => {
      const [{ prompt }] = cases;
      const run = async () => (await daemon.post('/v1/completions', {
        prompt, max_tokens: 1, temperature: 0, engram: { gates: true },
      })).json;
      const { json: paused } = await daemon.post('/admin/v1/gates/pause', {});
      assert.deepEqual(paused, { counting: false });
      const quiet = await run();
      let { json } = await daemon.get('/admin/v1/gates');
      assert.deepEqual([json.counting, json.tokens], [false, 0]);
      assert.deepEqual((await daemon.post('/admin/v1/gates/resume', {})).json, { counting: true });
      assert.deepEqual((await run()).choices, quiet.choices);
      ({ json } = await daemon.get('/admin/v1/gates'));
      assert.deepEqual([json.counting, json.tokens], [true, prompt.length]);
      assert.ok(JSON.stringify(quiet.choices).includes('"gates"'));
      await daemon.post('/admin/v1/gates/reset', {});
    });

    await t.test('decoded tokens count too, with the n-grams that reach back', async () => {
      const [testCase] = cases;
      await daemon.post('/v1/completions', {
        prompt: testCase.prompt, max_tokens: testCase.greedy.length, temperature: 0, ignore_eos: true,
      });
      const { json } = await daemon.get('/admin/v1/gates?top=1000');
      assert.equal(json.tokens, testCase.prompt.length + testCase.greedy.length - 1);
      const text = [...testCase.prompt, ...testCase.greedy.slice(0, -1)];
      const bigrams = new Map();
      for (let i = 1; i < text.length; ++i) {
        const key = text.slice(i - 1, i + 1).join(' ');
        bigrams.set(key, (bigrams.get(key) ?? 0) + 1);
      }
      const counted = new Map(json.top_ngrams_by_count.filter((n) => n.order === 2).map((n) => [n.tokens.join(' '), n.count]));
      assert.deepEqual(counted, new Map([...counted.keys()].map((key) => [key, bigrams.get(key)])));
      assert.equal(counted.size, bigrams.size);
    });
  });
}

test('groups, switches and wrong requests', async (t) => {
  const daemon = await Daemon.start({ settings: ['gates.keep_text=false'] });
  t.after(() => daemon.stop());
  assert.equal((await daemon.get('/admin/v1/gates?key=alice')).status, 404);
  assert.equal((await daemon.post('/admin/v1/gates/groups', { key: '127.0.0.1' })).status, 201);
  assert.equal((await daemon.post('/admin/v1/gates/groups', {})).status, 400);
  assert.equal((await daemon.post('/admin/v1/gates/groups', { key: 'a', overlay: 'b' })).status, 400);
  await daemon.post('/v1/completions', { prompt: [1, 2, 3, 4], max_tokens: 0, echo: true });
  const { json } = await daemon.get('/admin/v1/gates?key=127.0.0.1');
  assert.equal(json.tokens, 4);
  assert.deepEqual(json.groups, [{ key: '127.0.0.1' }]);
  assert.equal(json.texts_kept, false);
  assert.ok(json.top_ngrams_by_count.every((n) => n.tokens === undefined && n.text === undefined && /^[0-9a-f]{16}$/.test(n.hash)));
  assert.equal((await daemon.call('DELETE', '/admin/v1/gates/groups', { key: '127.0.0.1' })).status, 200);
  assert.equal((await daemon.call('DELETE', '/admin/v1/gates/groups', { key: '127.0.0.1' })).status, 404);
  for (const [body, param] of [
    [{}, 'prompt'], [{ prompt: [] }, 'prompt'], [{ prompt: 'a', top: 21 }, 'top'],
    [{ prompt: [1, 2], from: 2 }, 'from'], [{ prompt: [1, 2], from: -1 }, 'from'], [{ prompt: [1, 2], count: 0 }, 'count'], [{ prompt: 'a', compare: 1 }, 'compare'],
    [{ prompt: 'a', x: 1 }, 'x'], [{ prompt: ['a', 'b'] }, 'prompt'],
    [{ prompt: 'a', engram: { overlays: ['none'] } }, 'engram.overlays[0]'], [{ prompt: 'a', engram: { as_of: 7 } }, 'engram.as_of'],
  ]) {
    const { status, json: error } = await daemon.post('/admin/v1/inspect', body);
    assert.ok(status === 400 || status === 404, `${JSON.stringify(body)}: ${status}`);
    assert.equal(error.error.param, param, JSON.stringify(error));
  }
  for (const query of ['top=1001', 'top=x', 'nonsense=1', 'key=a&overlay=b']) {
    assert.equal((await daemon.get(`/admin/v1/gates?${query}`)).status, 400, query);
  }
  const off = await Daemon.start({ settings: ['gates.statistics=false'] });
  t.after(() => off.stop());
  assert.equal((await off.get('/admin/v1/gates')).status, 400);
});

test('inspection beside running streams', async (t) => {
  const daemon = await Daemon.start();
  t.after(() => daemon.stop());
  const { cases } = expected('dense-paper-hc4');
  const streams = cases.map((testCase) => daemon.post('/v1/completions', {
    prompt: testCase.prompt, max_tokens: testCase.greedy.length, temperature: 0, ignore_eos: true, return_token_ids: true,
  }));
  const looks = cases.map((testCase) => daemon.post('/admin/v1/inspect', { prompt: testCase.prompt }));
  (await Promise.all(streams)).forEach(({ json }, i) => assert.deepEqual(json.choices[0].token_ids, cases[i].greedy));
  (await Promise.all(looks)).forEach(({ json }, i) => assert.equal(json.positions.at(-1).lens.at(-1).top[0].token, cases[i].greedy[0]));
});
