// SPDX-License-Identifier: Apache-2.0
// Live memory over the API: commits, versions, rollback, overlays, and what survives a restart.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Daemon, expected } from './daemon.mjs';
import { float32Bytes, randomValues, safetensors } from './memory_edits.mjs';

const name = 'dense-paper-hc4';
const { cases } = expected(name);
const prompt = cases[0].prompt;
const tenants = Number(process.env.ENGRAMD_TENANTS ?? 40);
let daemon;
let tables;
before(async () => {
  daemon = await Daemon.start({ model: name });
  tables = (await daemon.get('/admin/v1/tables')).json.tables;
});
after(() => daemon?.stop());

async function ok(method, route, body, headers, status = null) {
  const answer = await daemon.call(method, route, body, headers);
  assert.ok(status === null ? answer.status < 300 : answer.status === status, `${method} ${route}: ${answer.text}`);
  return answer.json;
}
const commit = (body, headers) => ok('POST', '/admin/v1/commits', body, headers, 201);
const rowsOf = async (layer, ids, asOf) =>
  (await ok('GET', `/admin/v1/rows?layer=${layer}&ids=${ids}${asOf === undefined ? '' : `&as_of=${asOf}`}`)).rows;
const locate = (body) => ok('POST', '/admin/v1/locate', body);
const version = async () => (await ok('GET', '/admin/v1/journal')).version;
// Tokens and log probabilities of a greedy answer.
async function answer(engram = {}, ids = prompt) {
  const json = await ok('POST', '/v1/completions', {
    prompt: ids, max_tokens: 6, temperature: 0, ignore_eos: true, return_token_ids: true, logprobs: 3, engram,
  });
  return { tokens: json.choices[0].token_ids, logprobs: json.choices[0].logprobs, version: json.engram.memory_version };
}
const same = (a, b) => assert.deepEqual([a.tokens, a.logprobs], [b.tokens, b.logprobs]);
const differ = (a, b) => assert.notDeepEqual(a.logprobs, b.logprobs);
// Edits of every row that the last position of `ids` reads in one layer.
async function editsAt(ids, layer, seed) {
  const located = await locate({ tokens: ids });
  const { head_dim: width } = tables.find((table) => table.layer === layer);
  return located.rows[layer].at(-1).map((row, i) => ({ layer, row, values: randomValues(width, seed + i) }));
}

test('tables describe the addressing', async () => {
  assert.deepEqual(tables.map(({ layer }) => layer), [1, 2]);
  for (const table of tables) {
    assert.equal(table.columns.length, 8);
    assert.equal(table.columns.reduce((rows, { prime }) => rows + prime, 0), table.rows);
    assert.equal(table.columns[3].offset, table.columns.slice(0, 3).reduce((rows, { prime }) => rows + prime, 0));
    assert.equal(table.bytes, table.rows * table.row_bytes);
    assert.equal(table.edited_rows, 0);
  }
});

test('locate says what a generation reads', async () => {
  for (const testCase of cases) {
    const located = await locate({ tokens: testCase.prompt });
    assert.deepEqual(located.tokens, testCase.prompt);
    assert.equal(located.compressed.length, testCase.prompt.length);
    for (const layer of Object.keys(located.rows)) {
      assert.deepEqual(located.rows[layer], testCase.rows[layer].slice(0, testCase.prompt.length));
    }
    assert.deepEqual([located.edited, located.overlay_rows, located.guarded], [[], [], []]);
  }
  const text = 'naïve 漢字 of the';
  const byText = await locate({ text });
  assert.deepEqual(byText.tokens, (await ok('POST', '/tokenize', { prompt: text })).tokens);
  assert.deepEqual(byText.rows, (await locate({ tokens: byText.tokens })).rows);
  assert.equal(byText.texts.length, byText.tokens.length);
});

test('a commit changes the answer at once, and rollback restores it bit for bit', async () => {
  const before = await answer();
  const parent = await version();
  assert.equal(before.version, parent);
  const committed = await commit({ note: 'first', author: 'me', edits: await editsAt(prompt, 1, 1) });
  assert.deepEqual([committed.version, committed.parent, committed.rows], [parent + 1, parent, 8]);
  const changed = await answer();
  assert.equal(changed.version, committed.version);
  differ(changed, before);
  same(await answer({ as_of: parent }), before);
  assert.equal((await answer({ as_of: parent })).version, parent);
  same(await answer({ as_of: committed.version }), changed);
  assert.equal((await locate({ tokens: prompt })).edited.filter(({ version: v }) => v === committed.version).length >= 8, true);

  const back = await ok('POST', '/admin/v1/rollback', { to: parent, note: 'undo' }, {}, 201);
  assert.deepEqual([back.version, back.parent], [committed.version + 1, committed.version]);
  same(await answer(), before);
  same(await answer({ as_of: committed.version }), changed);

  const { commits } = await ok('GET', '/admin/v1/commits?limit=2');
  assert.deepEqual(commits.map(({ kind, note, restores }) => [kind, note, restores]),
    [['rollback', 'undo', parent], ['commit', 'first', null]]);
  assert.deepEqual(await ok('GET', `/admin/v1/commits/${committed.version}`), commits[1]);
  assert.equal(commits[1].author, 'me');
  assert.equal((await daemon.get('/admin/v1/commits/999')).status, 404);
  assert.equal((await daemon.get('/admin/v1/commits/x')).status, 404);
  assert.equal((await daemon.post('/v1/completions', { prompt, engram: { as_of: 999 } })).json.error.param, 'engram.as_of');
});

test('a stream keeps the version it started with', async () => {
  const body = { prompt, max_tokens: 60, temperature: 0, ignore_eos: true, return_token_ids: true };
  const alone = await ok('POST', '/v1/completions', body);
  const response = await fetch(`${daemon.url}/v1/completions`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ ...body, stream: true }),
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = (await reader.read()).value;
  const committed = await commit({ edits: await editsAt([...prompt, ...alone.choices[0].token_ids.slice(0, 30)], 1, 50) });
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
  const chunks = text.split('\n\n').filter((event) => event.startsWith('data: {')).map((event) => JSON.parse(event.slice(6)));
  const ids = chunks.flatMap((chunk) => chunk.choices[0]?.token_ids ?? []);
  assert.deepEqual(ids, alone.choices[0].token_ids);
  assert.ok(chunks.every((chunk) => (chunk.engram?.memory_version ?? committed.parent) === committed.parent));
  await ok('POST', '/admin/v1/rollback', { to: committed.parent });
});

test('a plan writes nothing', async () => {
  const edits = await editsAt(prompt, 2, 9);
  const start = await version();
  const plan = await ok('POST', '/admin/v1/commits', { plan: true, edits }, {}, 200);
  assert.equal(plan.version, start);
  assert.equal(plan.rows_changed, 8);
  assert.deepEqual(plan.rows.map(({ row }) => row), edits.map(({ row }) => row));
  for (const [i, row] of plan.rows.entries()) {
    assert.equal(row.edit, i);
    assert.equal(row.changes, true);
    assert.ok(Math.abs(row.norm_after - Math.hypot(...edits[i].values)) < 0.02 * row.norm_after);
    const [now] = await rowsOf(2, [row.row]);
    assert.ok(Math.abs(row.norm_before - now.norm) < 1e-5);
  }
  assert.equal(await version(), start);
  // The same values again would change nothing.
  const [row] = await rowsOf(2, [edits[0].row]);
  const idle = await ok('POST', '/admin/v1/commits', { plan: true, edits: [{ layer: 2, row: row.row, values: row.values }] });
  assert.equal(idle.rows_changed, 0);
});

test('if_version and idempotency keys', async () => {
  const now = await version();
  const edits = await editsAt(prompt, 1, 20);
  const stale = await daemon.post('/admin/v1/commits', { if_version: now + 1, edits });
  assert.equal(stale.status, 409);
  assert.match(stale.json.error.message, new RegExp(`${now}`));
  assert.equal((await daemon.post('/admin/v1/commits', { if_version: now + 1, plan: true, edits })).status, 409);
  const body = { if_version: now, edits };
  const key = { 'idempotency-key': `key-${now}` };
  const first = await daemon.post('/admin/v1/commits', body, key);
  const again = await daemon.post('/admin/v1/commits', body, key);
  assert.deepEqual([first.status, again.status], [201, 201]);
  assert.deepEqual(again.json, first.json);
  assert.equal(first.headers.get('idempotent-replayed'), null);
  assert.equal(again.headers.get('idempotent-replayed'), 'true');
  assert.equal(await version(), now + 1);
  assert.equal((await daemon.post('/admin/v1/commits', { edits }, key)).status, 409);
  assert.equal((await daemon.post('/admin/v1/commits', { edits }, { 'idempotency-key': 'k'.repeat(256) })).status, 400);
  assert.equal((await daemon.post('/admin/v1/rollback', { to: now, if_version: now })).status, 409);
  const undo = { 'idempotency-key': `undo-${now}` };
  const back = await ok('POST', '/admin/v1/rollback', { to: now }, undo, 201);
  assert.deepEqual(await ok('POST', '/admin/v1/rollback', { to: now }, undo, 201), back);
  assert.equal(await version(), now + 2);
});

test('set, add, stored bytes, n-grams and safetensors edit the same rows', async () => {
  const start = await version();
  const { head_dim: width } = tables[0];
  const values = randomValues(width, 3);
  await commit({ edits: [{ layer: 1, row: 5, values }, { layer: 1, row: '6', values }] });
  const [five, six] = await rowsOf(1, '5,6');
  assert.deepEqual([five.values, five.edited], [six.values, true]);
  // bf16 keeps eight bits.
  five.values.forEach((value, i) => assert.ok(Math.abs(value - values[i]) <= Math.abs(values[i]) / 256));

  await commit({ edits: [{ layer: 1, row: 5, mode: 'add', values: five.values }] });
  assert.deepEqual((await rowsOf(1, [5]))[0].values, five.values.map((value) => 2 * value));

  const bytes = Buffer.alloc(2 * width);
  five.values.forEach((value, i) => bytes.writeUInt16LE(Buffer.from(float32Bytes([value])).readUInt32LE() >>> 16, 2 * i));
  await commit({ edits: [{ layer: 1, row: 5, data: bytes.toString('base64') }] });
  assert.deepEqual((await rowsOf(1, [5]))[0].values, five.values);

  const file = safetensors({ note: 'file', mode: 'set' }, {
    'layer.1.rows': { dtype: 'I64', shape: [2], values: [7, 8] },
    'layer.1.values': { dtype: 'F32', shape: [2, width], values: [...values, ...values] },
    'layer.2.rows': { dtype: 'I64', shape: [1], values: [9] },
    'layer.2.data': { dtype: 'U8', shape: [1, 2 * width], values: [...bytes] },
  });
  const type = { 'content-type': 'application/x-safetensors' };
  const uploaded = await daemon.call('POST', '/admin/v1/commits', file, type);
  assert.equal(uploaded.status, 201, uploaded.text);
  assert.equal(uploaded.json.rows, 3);
  for (const row of await rowsOf(1, '7,8')) assert.deepEqual(row.values, five.values);
  assert.deepEqual((await rowsOf(2, [9]))[0].values, five.values);
  const bad = await daemon.call('POST', '/admin/v1/commits', safetensors({}, {
    'layer.1.rows': { dtype: 'I64', shape: [2], values: [7, 1e9] },
    'layer.1.values': { dtype: 'F32', shape: [2, width], values: [...values, ...values] },
  }), type);
  assert.equal(bad.status, 400);
  assert.equal(bad.json.error.param, 'layer.1.rows[1]');

  const text = ' the capital of';
  const located = await locate({ text, add_special_tokens: false });
  const last = located.rows[1].at(-1);
  const columns = located.columns[1];
  const pick = (order, heads) => columns.flatMap((column, i) =>
    column.order === order && heads.includes(column.head) ? [last[i]] : []);
  await commit({ edits: [{ layer: 1, ngram: { text }, order: 2, heads: [0, 2], values }] });
  for (const row of await rowsOf(1, pick(2, [0, 2]))) assert.deepEqual(row.values, five.values);
  for (const row of await rowsOf(1, pick(2, [1, 3]))) assert.equal(row.edited, false);
  const each = columns.slice(0, 4).flatMap((_, head) => randomValues(width, 30 + head));
  await commit({ edits: [{ layer: 1, ngram: { tokens: located.tokens }, order: 3, values: each }] });
  const norms = (await rowsOf(1, pick(3, [0, 1, 2, 3]))).map(({ norm }) => norm);
  norms.forEach((norm, head) => {
    const want = Math.hypot(...each.slice(head * width, (head + 1) * width));
    assert.ok(Math.abs(norm - want) < 0.01 * want);
  });

  const end = await version();
  const diff = await ok('GET', `/admin/v1/diff?from=${start}&to=${end}&limit=4`);
  assert.equal(diff.rows.length, 4);
  assert.ok(diff.total >= 11);
  assert.deepEqual(diff.rows[0].after.values, five.values);
  assert.equal(diff.rows[0].before.edited, false);
  const rest = await ok('GET', `/admin/v1/commits/diff?from=${start}&to=${end}&limit=1000&cursor=${diff.next_cursor}`);
  assert.equal(rest.rows.length, diff.total - 4);
  assert.equal(rest.next_cursor, null);
  await ok('POST', '/admin/v1/rollback', { to: start });
  assert.deepEqual((await rowsOf(1, [5], start))[0], (await rowsOf(1, [5], 0))[0]);
  assert.equal((await rowsOf(1, [5]))[0].edited, false);
});

test('wrong bodies are clear 400s that write nothing', async () => {
  const start = await version();
  const { head_dim: width, rows } = tables[0];
  const values = Array(width).fill(1);
  const good = { layer: 1, row: 1, values };
  const bad = [
    [{ edits: [good, { ...good, row: rows }] }, 'edits[1].row'],
    [{ edits: [{ ...good, layer: 3 }] }, 'edits[0].layer'],
    [{ edits: [{ ...good, values: values.slice(1) }] }, 'edits[0].values'],
    [{ edits: [{ ...good, values: [...values, 1] }] }, 'edits[0].values'],
    [{ edits: [{ layer: 1, row: 1, data: 'AAAA' }] }, 'edits[0].data'],
    [{ edits: [{ layer: 1, ngram: { tokens: [1] }, values }] }, 'edits[0].ngram'],
    [{ edits: [{ layer: 1, ngram: { tokens: [1, 2, 3, 4] }, values }] }, 'edits[0].ngram'],
    [{ edits: [{ layer: 1, ngram: { tokens: [1, 2] }, order: 3, values }] }, 'edits[0]'],
    [{ edits: [{ layer: 1, ngram: { tokens: [1, 2] }, heads: [4], values }] }, 'edits[0].heads'],
    [{ edits: [{ ...good, values: [1e39, ...values.slice(1)] }] }, 'edits[0].values[0]'],
    [{ edits: [good, { layer: 2, row: 1, values }, good] }, 'edits[2]'],
    [{ edits: 'x' }, 'edits'],
    [{}, 'edits'],
    [{ edits: [good], surprise: 1 }, 'surprise'],
  ];
  for (const [body, param] of bad) {
    for (const plan of [false, true]) {
      const { status, json } = await daemon.post('/admin/v1/commits', { ...body, plan });
      assert.equal(status, 400, JSON.stringify([body, json]));
      assert.ok(json.error.param.startsWith(param), `${json.error.param} for ${param}: ${json.error.message}`);
    }
  }
  assert.equal((await daemon.post('/admin/v1/rollback', {})).json.error.param, 'to');
  assert.ok([400, 404, 409].includes((await daemon.post('/admin/v1/rollback', { to: start + 1 })).status));
  for (const [query, param] of [['', 'layer'], ['?layer=1', 'ids'], ['?layer=1&ids=x', 'ids[0]'], ['?layer=9&ids=1', 'layer'],
    [`?layer=1&ids=${rows}`, 'ids'], ['?layer=1&ids=1&what=1', 'what']]) {
    const { status, json } = await daemon.get(`/admin/v1/rows${query}`);
    assert.equal(status, 400, query);
    assert.ok(json.error.param.startsWith(param), `${query}: ${json.error.param}`);
  }
  assert.ok([404, 409].includes((await daemon.get('/admin/v1/rows?layer=1&ids=1&as_of=999')).status));
  assert.equal((await daemon.post('/admin/v1/locate', {})).status, 400);
  assert.equal((await daemon.post('/admin/v1/locate', { tokens: [4096000] })).json.error.param, 'tokens[0]');
  assert.equal((await daemon.post('/admin/v1/locate', { tokens: Array(4097).fill(1) })).json.error.param, 'tokens');
  assert.equal((await daemon.get('/admin/v1/tables?model=nobody')).status, 404);
  assert.equal(await version(), start);
});

test('overlays change the answers of those who attach them, and no others', async () => {
  const plain = await answer();
  const entries = await editsAt(prompt, 1, 70);
  const put = await daemon.call('PUT', '/admin/v1/overlays/tenant-a', { entries });
  assert.equal(put.status, 201, put.text);
  assert.deepEqual([put.json.name, put.json.rows, put.json.guarded, put.json.expires_unix_ms], ['tenant-a', 8, 0, null]);
  const withA = await answer({ overlays: ['tenant-a'] });
  differ(withA, plain);
  same(await answer(), plain);
  assert.equal(withA.version, plain.version);
  const located = await locate({ tokens: prompt, overlays: ['tenant-a'] });
  assert.equal(located.overlay_rows.filter(({ position, layer }) => position === prompt.length - 1 && layer === 1).length, 8);

  // As a commit of the same rows would.
  await commit({ edits: entries });
  same(await answer(), withA);
  await ok('POST', '/admin/v1/rollback', { to: plain.version });

  const shown = await ok('GET', '/admin/v1/overlays/tenant-a?limit=3');
  assert.equal(shown.entries.length, 3);
  assert.equal(shown.next_cursor, '3');
  assert.equal((await daemon.call('PUT', '/admin/v1/overlays/tenant-a', { entries })).status, 200);
  await ok('PUT', '/admin/v1/overlays/tenant-b', { entries: await editsAt(prompt, 1, 90) });
  const withB = await answer({ overlays: ['tenant-b'] });
  differ(withB, withA);
  same(await answer({ overlays: ['tenant-a', 'tenant-b'] }), withB);
  same(await answer({ overlays: ['tenant-b', 'tenant-a'] }), withA);
  const { overlays } = await ok('GET', '/admin/v1/overlays');
  assert.deepEqual(overlays.map((overlay) => overlay.name), ['tenant-a', 'tenant-b']);

  const receipt = await ok('DELETE', '/admin/v1/overlays/tenant-a');
  assert.equal(receipt.digest, put.json.digest);
  assert.equal(receipt.journal_erased, true);
  assert.ok(receipt.deleted_unix_ms >= receipt.created_unix_ms);
  assert.equal((await daemon.call('DELETE', '/admin/v1/overlays/tenant-a')).status, 404);
  const gone = await daemon.post('/v1/completions', { prompt, engram: { overlays: ['tenant-a'] } });
  assert.ok([400, 404].includes(gone.status));
  assert.match(gone.json.error.message, /tenant-a/);
  same(await answer(), plain);
  await ok('DELETE', '/admin/v1/overlays/tenant-b');

  for (const [body, param] of [
    [{}, 'entries'], [{ entries: [{ layer: 9, row: 1, values: [1] }] }, 'entries[0].layer'],
    [{ entries: [entries[0], { ...entries[0], row: 1e12 }] }, 'entries[1].row'],
    [{ entries: [{ suffix: { tokens: [1] }, memory: { 1: [1] } }] }, 'entries[0].suffix'],
    [{ entries: [entries[0], { suffix: { tokens: [1, 2] }, memory: { 1: [1] } }] }, 'entries[1].memory'],
    [{ entries, ttl_s: -1 }, 'ttl_s'],
  ]) {
    const { status, json } = await daemon.call('PUT', '/admin/v1/overlays/bad', body);
    assert.equal(status, 400, JSON.stringify([body, json]));
    assert.ok(json.error.param.startsWith(param), `${json.error.param} for ${param}`);
  }
  assert.equal((await daemon.call('PUT', '/admin/v1/overlays/.hidden', { entries })).status, 400);
  assert.equal((await daemon.get('/admin/v1/overlays/bad')).status, 404);
});

test('a guarded entry holds after its suffix alone; the longest wins', async () => {
  const { head_dim: width, columns } = tables[0];
  const memory = (seed) => ({ 1: randomValues(width * columns.length, seed), 2: randomValues(width * columns.length, seed + 1) });
  const { tokens } = await ok('POST', '/tokenize', { prompt: 'I live in 北京市 now', add_special_tokens: false });
  const suffix = await ok('POST', '/tokenize', { prompt: ' now', add_special_tokens: false });
  const short = tokens.slice(-2);
  const long = tokens.slice(-4);
  assert.ok(suffix.tokens.length >= 1);
  const plain = await answer({}, tokens);
  await ok('PUT', '/admin/v1/overlays/short', { entries: [{ suffix: { tokens: short }, memory: memory(1) }] });
  await ok('PUT', '/admin/v1/overlays/long', { entries: [{ suffix: { tokens: long }, memory: memory(5) }] });
  const withShort = await answer({ overlays: ['short'] }, tokens);
  const withLong = await answer({ overlays: ['long'] }, tokens);
  differ(withShort, plain);
  differ(withLong, withShort);
  // Whatever their order: the longer suffix.
  same(await answer({ overlays: ['short', 'long'] }, tokens), withLong);
  same(await answer({ overlays: ['long', 'short'] }, tokens), withLong);
  const located = await locate({ tokens, overlays: ['short', 'long'] });
  assert.deepEqual(located.guarded.map(({ position, overlay }) => [position, overlay]), [[tokens.length - 1, 'long']]);
  // An n-gram that is not the suffix sees nothing of it.
  const other = [...tokens.slice(0, -2), 7, 8, 9];
  same(await answer({ overlays: ['short', 'long'] }, other), await answer({}, other));

  // By text, in Chinese.
  const chinese = '中国的首都是';
  const ids = (await ok('POST', '/tokenize', { prompt: chinese, add_special_tokens: false })).tokens;
  const tail = ids.slice(-8);
  const text = (await ok('POST', '/detokenize', { tokens: tail })).prompt;
  const byText = (await ok('POST', '/tokenize', { prompt: text, add_special_tokens: false })).tokens;
  if (byText.join() === tail.join()) {
    await ok('PUT', '/admin/v1/overlays/zh', { entries: [{ suffix: { text }, memory: memory(9) }] });
    differ(await answer({ overlays: ['zh'] }, ids), await answer({}, ids));
    await ok('DELETE', '/admin/v1/overlays/zh');
  }
  const shown = await ok('GET', '/admin/v1/overlays/long');
  assert.equal(shown.guarded, 1);
  assert.equal(shown.entries[0].suffix.compressed.length, 4);
  assert.deepEqual(Object.keys(shown.entries[0].memory), ['1', '2']);
  for (const overlay of ['short', 'long']) await ok('DELETE', `/admin/v1/overlays/${overlay}`);
});

test('an overlay is forgotten when its time is over', async () => {
  await ok('PUT', '/admin/v1/overlays/brief', { entries: await editsAt(prompt, 1, 5), ttl_s: 0.2 });
  await daemon.until(async () => (await daemon.get('/admin/v1/overlays/brief')).status === 404);
  assert.ok((await daemon.post('/v1/completions', { prompt, engram: { overlays: ['brief'] } })).status >= 400);
});

test(`${tenants} tenants at once get what each gets alone`, async () => {
  const names = Array.from({ length: tenants }, (_, i) => `t-${i}`);
  const bodies = await Promise.all(names.map(async (_, i) => ({ entries: await editsAt(prompt, 1 + (i % 2), 1000 + i) })));
  for (const [i, body] of bodies.entries()) await ok('PUT', `/admin/v1/overlays/${names[i]}`, body);
  const alone = [];
  for (const overlay of names) alone.push(await answer({ overlays: [overlay] }));
  const width = 16;
  const together = [];
  for (let i = 0; i < names.length; i += width) {
    together.push(...await Promise.all(names.slice(i, i + width).map((overlay) => answer({ overlays: [overlay] }))));
  }
  together.forEach((got, i) => same(got, alone[i]));
  assert.ok(new Set(alone.map(({ logprobs }) => JSON.stringify(logprobs))).size > tenants / 2);
  for (const overlay of names) await ok('DELETE', `/admin/v1/overlays/${overlay}`);
});
