// SPDX-License-Identifier: Apache-2.0
// What the memory's journal keeps over restarts and kills; compaction, backup, and who may do what.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Daemon, expected } from './daemon.mjs';
import { randomValues } from './memory_edits.mjs';

const name = 'dense-v41-hc4-fp8';
const prompt = expected(name).cases[0].prompt;
const width = 64;

async function ok(daemon, method, route, body, status = null) {
  const answer = await daemon.call(method, route, body);
  assert.ok(status === null ? answer.status < 300 : answer.status === status, `${method} ${route}: ${answer.text}`);
  return answer.json;
}
async function answer(daemon, engram = {}) {
  const { choices, engram: { memory_version: version } } = await ok(daemon, 'POST', '/v1/completions', {
    prompt, max_tokens: 4, temperature: 0, ignore_eos: true, return_token_ids: true, logprobs: 2, engram });
  return { tokens: choices[0].token_ids, logprobs: choices[0].logprobs, version };
}
async function editsAt(daemon, seed) {
  const { rows } = await ok(daemon, 'POST', '/admin/v1/locate', { tokens: prompt });
  return rows[1].at(-1).map((row, i) => ({ layer: 1, row, values: randomValues(width, seed + i) }));
}
async function finish(daemon, route, body) {
  const { operation } = await ok(daemon, 'POST', route, body, 202);
  let state;
  await daemon.until(async () => {
    state = await ok(daemon, 'GET', `/admin/v1/operations/${operation}`);
    return !['queued', 'running'].includes(state.state);
  });
  assert.equal(state.state, 'succeeded', JSON.stringify(state));
  return state;
}

test('a killed daemon comes back with everything it acknowledged', async (t) => {
  let daemon = await Daemon.start({ model: name });
  t.after(() => daemon.stop());
  const answers = [await answer(daemon)];
  const edits = await editsAt(daemon, 40);
  await ok(daemon, 'PUT', '/admin/v1/overlays/kept', { entries: edits });
  await ok(daemon, 'PUT', '/admin/v1/overlays/gone', { entries: edits });
  await ok(daemon, 'DELETE', '/admin/v1/overlays/gone');
  const withOverlay = await answer(daemon, { overlays: ['kept'] });
  let acknowledged = 0;
  for (let round = 0; round < 3; ++round) {
    for (let i = 0; i < 3; ++i) {
      acknowledged = (await ok(daemon, 'POST', '/admin/v1/commits', {
        note: `round ${round}`, edits: await editsAt(daemon, 100 * round + 10 * i) }, 201)).version;
      answers[acknowledged] = await answer(daemon);
    }
    // Commits under way when it is killed: each is there or not, but never in part.
    const racing = [1, 2, 3].map(async (i) => {
      const body = { note: 'racing', edits: edits.map((edit) => ({ ...edit, values: randomValues(width, 7 * i) })) };
      const response = await daemon.post('/admin/v1/commits', body).catch(() => null);
      if (response?.status === 201) acknowledged = Math.max(acknowledged, response.json.version);
    });
    const dir = await daemon.kill();
    await Promise.all(racing);
    daemon = await Daemon.start({ model: name, dir });
    const { version } = await ok(daemon, 'GET', '/admin/v1/journal');
    assert.ok(version >= acknowledged, `${version} after ${acknowledged}`);
    for (let v = 0; v <= version; ++v) {
      const now = await answer(daemon, { as_of: v });
      answers[v] ??= now;
      assert.deepEqual([now.tokens, now.logprobs], [answers[v].tokens, answers[v].logprobs], `version ${v}`);
    }
    const { commits } = await ok(daemon, 'GET', '/admin/v1/commits');
    assert.deepEqual(commits.map((commit) => commit.version), Array.from({ length: version }, (_, i) => version - i));
    for (const commit of commits) {
      if (commit.note !== 'racing') continue;
      const { rows } = await ok(daemon, 'GET', `/admin/v1/rows?layer=1&ids=${edits.map(({ row }) => row)}&as_of=${commit.version}`);
      assert.ok(rows.every((row) => row.version === commit.version));
    }
    assert.deepEqual((await ok(daemon, 'GET', '/admin/v1/journal/verify')), {
      ok: true, commits_checked: version, commits_folded: 0, bad_version: null, problem: '' });
    const overlays = await ok(daemon, 'GET', '/admin/v1/overlays');
    assert.deepEqual(overlays.overlays.map((overlay) => overlay.name), ['kept']);
    assert.deepEqual((await answer(daemon, { overlays: ['kept'], as_of: 0 })).logprobs, withOverlay.logprobs);
  }
});

test('compaction and backup change no answer', async (t) => {
  let daemon = await Daemon.start({ model: name });
  t.after(() => daemon.stop());
  const nothing = await daemon.post('/admin/v1/compact', {});
  if (nothing.status === 202) {
    const failed = await ok(daemon, 'GET', `/admin/v1/operations/${nothing.json.operation}`);
    assert.notEqual(failed.state, 'succeeded');
  } else {
    assert.equal(nothing.status, 409);
  }
  const base = await answer(daemon);
  for (const seed of [1, 2, 3]) await ok(daemon, 'POST', '/admin/v1/commits', { edits: await editsAt(daemon, seed) }, 201);
  const before = await answer(daemon);
  const done = await finish(daemon, '/admin/v1/compact', {});
  assert.equal(done.kind, 'memory.compact');
  assert.match(done.stage, /folded \d+ rows/);
  assert.deepEqual(await answer(daemon), before);
  const { tables, base_version: folded } = await ok(daemon, 'GET', '/admin/v1/tables');
  assert.equal(folded, 3);
  assert.equal(tables[0].edited_rows, 0);
  assert.ok(tables[0].path);

  const copy = await finish(daemon, '/admin/v1/backup', { directory: 'monday' });
  assert.match(copy.path, /\/state\/backups\/monday$/);
  assert.equal((await daemon.post('/admin/v1/backup', { directory: '/etc/monday' })).status, 400);
  assert.equal((await daemon.post('/admin/v1/backup', { directory: '..' })).status, 400);
  assert.equal((await daemon.post('/admin/v1/tables/swap', { layer: 1, path: '/etc/passwd' })).status, 400);
  const wrong = await daemon.post('/admin/v1/tables/swap', { layer: 1, path: 'model.safetensors' });
  if (wrong.status === 202) {
    await daemon.until(async () => (await ok(daemon, 'GET', `/admin/v1/operations/${wrong.json.operation}`)).state === 'failed');
  } else {
    assert.equal(wrong.status, 400);
  }

  const dir = await daemon.kill();
  daemon = await Daemon.start({ model: name, dir });
  assert.deepEqual(await answer(daemon), before);
  await ok(daemon, 'POST', '/admin/v1/commits', { edits: await editsAt(daemon, 9) }, 201);
  assert.notDeepEqual((await answer(daemon)).logprobs, before.logprobs);
  await ok(daemon, 'POST', '/admin/v1/rollback', { to: 3 }, 201);
  assert.deepEqual((await answer(daemon)).logprobs, before.logprobs);

  // The backup is a state directory of its own.
  const restored = await Daemon.start({ model: `${dir}/${name}`, settings: [], stateDir: `${dir}/state/backups/monday` });
  t.after(() => restored.stop());
  assert.deepEqual(await answer(restored), before);
  assert.notDeepEqual(base.logprobs, before.logprobs);
});

test('edits need the scope edit, compaction operate', async (t) => {
  const scopes = ['generate', 'read', 'edit', 'operate'];
  const daemon = await Daemon.start({ model: name, config: `auth:
  keys:
${scopes.map((scope) => `    - {name: ${scope}, sha256: ${createHash('sha256').update(`key-${scope}`).digest('hex')}, scopes: [${scope}]}\n`).join('')}` });
  t.after(() => daemon.stop());
  const as = (scope) => ({ authorization: `Bearer key-${scope}` });
  const edits = [{ layer: 1, row: 1, values: randomValues(width, 1) }];
  const requests = [
    ['edit', 'POST', '/admin/v1/commits', { edits }, 201], ['edit', 'POST', '/admin/v1/rollback', { to: 0 }, 201],
    ['edit', 'PUT', '/admin/v1/overlays/x', { entries: edits }, 201], ['edit', 'DELETE', '/admin/v1/overlays/x', undefined, 200],
    ['read', 'GET', '/admin/v1/commits', undefined, 200], ['read', 'GET', '/admin/v1/rows?layer=1&ids=1', undefined, 200],
    ['read', 'POST', '/admin/v1/locate', { tokens: [1] }, 200], ['read', 'GET', '/admin/v1/tables', undefined, 200],
    ['operate', 'POST', '/admin/v1/compact', {}, 202],
  ];
  for (const [needed, method, route, body, status] of requests) {
    for (const scope of scopes.filter((other) => other !== needed)) {
      assert.equal((await daemon.call(method, route, body, as(scope))).status, 403, `${method} ${route} as ${scope}`);
    }
    assert.equal((await daemon.call(method, route, body, as(needed))).status, status, `${method} ${route}`);
  }
  const { commits } = (await daemon.get('/admin/v1/commits', as('read'))).json;
  assert.deepEqual([commits[0].actor, commits[0].author], ['edit', 'edit']);
});
