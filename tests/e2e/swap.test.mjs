// SPDX-License-Identifier: Apache-2.0
// Swaps of model, table, tier and backbone under load, and the admin routes around them. ENGRAMD_SWAPS: how many (30).
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Daemon, binary, engramctl, vectorModelDir } from './daemon.mjs';

const NUM_SWAPS = Number(process.env.ENGRAMD_SWAPS ?? 30);
const NUM_STREAMS = 32;
// A sanitizer's allocator keeps freed memory, and says nothing of the daemon's own.
const SANITIZED = process.env.ASAN_OPTIONS !== undefined || process.env.TSAN_OPTIONS !== undefined;

const built = path.join(path.dirname(binary), '../lib/engram/plugins');
let dir;
let models; // two directories
let daemon;

function sha256(file) {
  return crypto.createHash('sha256').update(fs.readFileSync(file)).digest('hex');
}

// As `LC_ALL=C sha256sum * | sha256sum` prints it.
function directorySha256(directory) {
  const lines = fs.readdirSync(directory).sort().map((name) => `${sha256(path.join(directory, name))}  ${name}\n`);
  return crypto.createHash('sha256').update(lines.join('')).digest('hex');
}

// Starts an operation and waits for its end.
async function operate(route, body) {
  const started = await daemon.post(`/admin/v1/${route}`, body);
  assert.equal(started.status, 202, started.text);
  assert.equal(started.headers.get('location'), `/admin/v1/operations/${started.json.operation}`);
  let operation;
  await daemon.until(async () => {
    ({ json: operation } = await daemon.get(`/admin/v1/operations/${started.json.operation}`));
    return !['queued', 'running'].includes(operation.state);
  });
  return operation;
}

async function succeed(route, body) {
  const operation = await operate(route, body);
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation));
  assert.equal(operation.progress, 1);
  return operation;
}

const PROMPTS = Array.from({ length: 8 }, (_, i) => Array.from({ length: 1 + 3 * i }, (_, k) => 100 * i + 7 * k + 5));

function greedy(prompt) {
  return { prompt, max_tokens: 24, temperature: 0, ignore_eos: true, return_token_ids: true };
}

function tokensOf(choices) {
  return JSON.stringify(choices.flatMap((choice) => choice.token_ids ?? []));
}

async function answersNow() {
  const answers = [];
  for (const prompt of PROMPTS) {
    const { status, json, text } = await daemon.post('/v1/completions', greedy(prompt));
    assert.equal(status, 200, text);
    answers.push(tokensOf(json.choices));
  }
  return answers;
}

before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-swap-'));
  fs.mkdirSync(path.join(dir, 'models'));
  fs.mkdirSync(path.join(dir, 'plugins'));
  models = ['dense-paper', 'dense-paper-hc4'].map((name) => vectorModelDir(name, path.join(dir, 'models')));
  for (const name of ['backbone_cpu', 'tier_dram']) {
    for (const version of ['', '-2']) {
      fs.copyFileSync(path.join(built, `${name}.so`), path.join(dir, 'plugins', `${name}${version}.so`));
    }
  }
  daemon = await Daemon.start({
    model: models[0],
    settings: [`models.directories=[${dir}/models]`, `plugins.directories=[${dir}/plugins]`, 'model.name=served',
      'backbone.options.threads=2', 'memory.journal.compaction_rate=1KiB'],
  });
});

after(async () => {
  await daemon?.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

test('status, models, plugins and configuration', async () => {
  const status = (await daemon.get('/admin/v1/status')).json;
  assert.equal(status.state, 'ready');
  assert.deepEqual(status.models, [{ name: 'served', state: 'serving', default: true, memory_version: 0 }]);
  assert.ok(status.kv.capacity_tokens > 0 && status.uptime_s >= 0 && status.version);
  const [model] = (await daemon.get('/admin/v1/models')).json.models;
  assert.equal(model.directory, models[0]);
  assert.equal(model.state, 'serving');
  assert.deepEqual(model.engram_layers, [1, 2]);
  assert.ok(model.memory.weights_bytes > 0 && model.memory.tiers_bytes > 0 && model.loaded_at > 0);
  const { plugins } = (await daemon.get('/admin/v1/plugins')).json;
  assert.deepEqual(plugins.map((plugin) => [plugin.kind, plugin.name, plugin.used_by]), [
    ['backbone', 'backbone_cpu', [{ model: 'served', as: 'backbone_cpu' }]],
    ['tier', 'tier_dram', [{ model: 'served', as: 'dram' }]]]);
  assert.equal(plugins[0].sha256, sha256(plugins[0].path));
  const config = (await daemon.get('/admin/v1/config')).json;
  assert.equal(config.model.name, 'served');
  assert.equal(config.serving.drain_timeout, '30s');
});

test('what fails leaves the old model serving and says why', async () => {
  const answers = await answersNow();
  const model = (name) => path.join(dir, 'models', name);
  fs.cpSync(models[1], model('broken'), { recursive: true });
  fs.truncateSync(path.join(model('broken'), 'model.safetensors'), 50_000);
  fs.cpSync(models[1], model('huge'), { recursive: true });
  const tensor = JSON.stringify({ x: { dtype: 'F32', shape: [250e9], data_offsets: [0, 1e12] } });
  const header = Buffer.alloc(8 + tensor.length);
  header.writeBigUInt64LE(BigInt(tensor.length));
  header.write(tensor, 8);
  fs.writeFileSync(path.join(model('huge'), 'model.safetensors'), header);
  fs.truncateSync(path.join(model('huge'), 'model.safetensors'), header.length + 1e12); // sparse
  fs.copyFileSync(path.join(built, 'test/bad_major.so'), path.join(dir, 'plugins/bad_major.so'));
  const wrong = '0'.repeat(64);
  const cases = [
    ['models/swap', { model: model('none') }, /models\/none" does not exist/],
    ['models/swap', { model: '/etc' }, /"\/etc" is outside the allowed directories/],
    ['models/swap', { model: `${model('broken')}/../../..` }, /outside the allowed directories/],
    ['models/swap', { model: models[1], sha256: wrong }, new RegExp(`sha256 ${directorySha256(models[1])}, expected 0`)],
    ['models/swap', { model: model('broken') }, /models\/broken\/model\.safetensors/],
    ['models/swap', { model: model('huge') }, /models\/huge needs 10\d{11} bytes .* and \d+ bytes .* are available/],
    ['plugins/swap', { name: 'dram', path: 'none' }, /"none" not found/],
    ['plugins/swap', { name: 'dram', path: path.join(built, 'tier_dram.so') }, /outside the plugin directories/],
    ['plugins/swap', { name: 'dram', path: 'tier_dram-2', sha256: wrong }, /tier_dram-2\.so has sha256/],
    ['plugins/swap', { name: 'dram', path: 'bad_major' }, /bad_major\.so refused: built for ABI major/],
    ['plugins/swap', { name: 'backbone_cpu', path: 'tier_dram-2' }, /plugin is a tier, expected a backbone/],
  ];
  for (const [route, body, message] of cases) {
    const operation = await operate(route, body);
    assert.equal(operation.state, 'failed', JSON.stringify([body, operation]));
    assert.match(operation.error.message, message);
    assert.deepEqual(await answersNow(), answers);
  }
  for (const [route, body, status] of [
    ['models/swap', {}, 400], ['models/swap', { model: models[1], sha256: 'x' }, 400],
    ['models/swap', { model: models[1], name: 'nobody' }, 404], ['models/swap', { model: models[1], tables: { x: 'y' } }, 400],
    ['models/unload', { name: 'nobody' }, 404], ['plugins/swap', { name: 'nothing', path: 'x' }, 404],
    ['plugins/swap', { name: 'dram', path: 'x', model: 'nobody' }, 404]]) {
    const refused = await daemon.post(`/admin/v1/${route}`, body);
    assert.equal(refused.status, status, refused.text);
    assert.ok(refused.json.error.message);
  }
  // A plugin's file replaced under the running one: the dynamic linker would go on with the old code.
  fs.copyFileSync(path.join(dir, 'plugins/tier_dram-2.so'), path.join(dir, 'plugins/next.so'));
  fs.appendFileSync(path.join(dir, 'plugins/next.so'), 'another build');
  fs.renameSync(path.join(dir, 'plugins/tier_dram.so'), path.join(dir, 'plugins/kept.so'));
  fs.renameSync(path.join(dir, 'plugins/next.so'), path.join(dir, 'plugins/tier_dram.so'));
  const replaced = await operate('plugins/swap', { name: 'dram', path: 'tier_dram' });
  assert.match(replaced.error.message, /was replaced while it is loaded/);
  fs.renameSync(path.join(dir, 'plugins/kept.so'), path.join(dir, 'plugins/tier_dram.so'));
});

test('operations are listed, found and no more cancelled when over', async () => {
  const { operations } = (await daemon.get('/admin/v1/operations')).json;
  assert.ok(operations.length >= 2);
  assert.equal(operations.at(-1).kind, 'model.load');
  assert.equal((await daemon.get(`/admin/v1/operations/${operations[0].id}`)).json.state, operations[0].state);
  assert.equal((await daemon.call('DELETE', `/admin/v1/operations/${operations[0].id}`)).status, 409);
  assert.equal((await daemon.get('/admin/v1/operations/99999')).status, 404);
  assert.equal((await daemon.get('/admin/v1/operations/x')).status, 404);
});

test('a second model is loaded beside the first and removed', async () => {
  await succeed('models/load', { model: models[1], name: 'second', sha256: directorySha256(models[1]) });
  assert.deepEqual((await daemon.get('/v1/models')).json.data.map((model) => model.id), ['served', 'second']);
  const again = await operate('models/load', { model: models[1], name: 'second' });
  assert.match(again.error.message, /"second" is served already/);
  assert.equal((await daemon.post('/v1/completions', { ...greedy([1]), model: 'second' })).status, 200);
  await succeed('models/unload', { name: 'second' });
  assert.equal((await daemon.post('/v1/completions', { ...greedy([1]), model: 'second' })).status, 404);
  assert.doesNotMatch((await daemon.get('/metrics')).text, /model="second"/);
});

// Resident memory and mappings of the daemon.
function footprint() {
  const proc = `/proc/${daemon.child.pid}`;
  const maps = fs.readFileSync(`${proc}/maps`, 'utf8').split('\n').filter(Boolean);
  const libraries = new Set(maps.map((line) => line.slice(73)).filter((file) => file.startsWith(`${dir}/plugins`)));
  return {
    rss: Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`${proc}/status`, 'utf8'))[1]) / 1024,
    maps: maps.length,
    libraries: libraries.size,
    fds: fs.readdirSync(`${proc}/fd`).length,
  };
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

test(`${NUM_SWAPS} swaps under ${NUM_STREAMS} streams`, { timeout: 3_600_000 }, async () => {
  // Two tables for a layer of each model, and the answers with each. The journal keeps which one a model has now.
  const tables = models.map((model, m) => [0, 1].map((seed) => {
    const file = path.join(dir, 'models', `table-${m}-${seed}.ngt`);
    execFileSync(engramctl, ['table', 'synth', '--model', model, '--layer', '1', '--format', 'bf16', '--seed', `${seed}`,
      '--out', file], { stdio: 'ignore' });
    return file;
  }));
  const known = [];
  for (const m of [0, 1]) {
    await succeed('models/swap', { model: models[m] });
    for (const file of tables[m]) {
      await succeed('tables/swap', { layer: 1, path: file });
      known.push(await answersNow());
    }
  }
  for (const a of known) for (const b of known) if (a !== b) assert.notDeepEqual(a, b);
  const answersBy = (model, table) => known[2 * model + table];

  let running = true;
  const seen = known.map(() => 0);
  const client = async (number) => {
    for (let i = number; running; ++i) {
      const prompt = i % PROMPTS.length;
      let choices;
      if (i % 2 === 0) {
        const events = await daemon.stream('/v1/completions', greedy(PROMPTS[prompt]));
        assert.equal(events.at(-1), '[DONE]', JSON.stringify(events.at(-1)));
        choices = events.slice(0, -1).flatMap((event) => event.choices);
      } else {
        const { status, json, text } = await daemon.post('/v1/completions', greedy(PROMPTS[prompt]));
        assert.equal(status, 200, text);
        choices = json.choices;
      }
      assert.equal(choices.at(-1).finish_reason, 'length');
      const by = known.findIndex((answers) => answers[prompt] === tokensOf(choices));
      assert.notEqual(by, -1, `an answer of no model: ${tokensOf(choices)}`);
      seen[by] += 1;
    }
  };
  const clients = Array.from({ length: NUM_STREAMS }, (_, number) => client(number));
  const failed = Promise.all(clients);
  failed.catch(() => (running = false));

  const samples = [];
  const now = { model: 1, table: [1, 1], dram: 0, backbone_cpu: 0 };
  const counted = await daemon.metric('engramd_generated_tokens_total', 'model="served"');
  let slowest = 0;
  try {
    for (let i = 0; i < NUM_SWAPS && running; ++i) {
      const kind = ['model', 'table', 'dram', 'backbone_cpu'][i % 4];
      if (kind !== 'table') now[kind] = 1 - now[kind];
      const begin = performance.now();
      if (kind === 'model') {
        await succeed('models/swap', { model: models[now.model] });
      } else if (kind === 'table') {
        now.table[now.model] = 1 - now.table[now.model];
        await succeed('tables/swap', { layer: 1, path: tables[now.model][now.table[now.model]] });
      } else {
        const file = kind === 'dram' ? 'tier_dram' : 'backbone_cpu';
        await succeed('plugins/swap', { name: kind, path: now[kind] === 1 ? `${file}-2` : file });
      }
      slowest = Math.max(slowest, performance.now() - begin);
      samples.push(footprint());
    }
  } finally {
    running = false;
    await failed;
  }
  assert.ok(seen[0] + seen[1] > 0 && seen[2] + seen[3] > 0, 'both models answered');
  assert.ok(seen[0] + seen[2] > 0 && seen[1] + seen[3] > 0, 'from both tables');
  assert.ok((await daemon.metric('engramd_generated_tokens_total', 'model="served"')) > counted);
  assert.deepEqual(await answersNow(), answersBy(now.model, now.table[now.model]));
  assert.equal((await daemon.get('/admin/v1/journal/verify')).json.ok, true);
  assert.equal((await daemon.get('/admin/v1/models')).json.models.length, 1);

  const third = Math.floor(samples.length / 3);
  const [warm, last] = [samples.slice(third, 2 * third), samples.slice(-third)];
  const of = (part, key) => Math.round(median(part.map((sample) => sample[key])));
  console.log(`${samples.length} swaps, ${seen.reduce((a, b) => a + b)} answers (${seen.join(', ')} by model and table), 0 failed or mixed; ` +
    `slowest swap ${Math.round(slowest)} ms; medians of the middle and the last third: ` +
    ['rss', 'maps', 'libraries', 'fds'].map((key) => `${key} ${of(warm, key)} -> ${of(last, key)}`).join(', '));
  for (const sample of samples) assert.ok(sample.libraries <= 2, `${sample.libraries} plugin files are mapped`);
  assert.ok(of(last, 'fds') <= of(warm, 'fds') + 8);
  if (SANITIZED) return;
  assert.ok(of(last, 'rss') <= of(warm, 'rss') * 1.05 + 8, 'resident memory grows');
  assert.ok(of(last, 'maps') <= of(warm, 'maps') + 16, 'mappings grow');
});

// Operations that run when they are asked to end: whatever they were about to do does not happen.
test('a model load is cancelled while it runs, and a compaction', async () => {
  const big = path.join(dir, 'models', 'big');
  fs.cpSync(models[1], big, { recursive: true });
  // Long enough to be met while its digest is computed, whatever the machine.
  fs.writeFileSync(path.join(big, 'notes.bin'), '');
  fs.truncateSync(path.join(big, 'notes.bin'), 40e9); // sparse
  const answers = await answersNow();
  const cancel = async (id) => {
    const asked = await daemon.call('DELETE', `/admin/v1/operations/${id}`);
    assert.ok([200, 202].includes(asked.status), asked.text);
    let operation;
    await daemon.until(async () => {
      operation = (await daemon.get(`/admin/v1/operations/${id}`)).json;
      return !['queued', 'running'].includes(operation.state);
    });
    assert.equal((await daemon.call('DELETE', `/admin/v1/operations/${id}`)).status, 409);
    return operation;
  };
  for (const route of ['models/load', 'models/swap']) {
    const { json: { operation: id } } = await daemon.post(`/admin/v1/${route}`, {
      model: big, sha256: '0'.repeat(64), ...(route === 'models/load' ? { name: 'big' } : {}) });
    await daemon.until(async () => (await daemon.get(`/admin/v1/operations/${id}`)).json.stage.includes('checking'));
    const operation = await cancel(id);
    assert.equal(operation.state, 'cancelled', JSON.stringify(operation));
    assert.equal(operation.error, null);
    assert.equal(operation.cancelling, false);
  }
  assert.deepEqual(await answersNow(), answers);
  assert.equal((await daemon.get('/admin/v1/models')).json.models.length, 1);

  const values = Array.from({ length: 32 }, () => 0.5);
  await daemon.post('/admin/v1/commits', { edits: [{ layer: 1, row: 1, values }] });
  const journal = (await daemon.get('/admin/v1/journal')).json;
  const { json: { operation: id } } = await daemon.post('/admin/v1/compact', {});
  const folding = await daemon.get(`/admin/v1/operations/${id}`); // for minutes, at the rate of these settings
  assert.equal(folding.json.state, 'running', folding.text);
  assert.equal((await cancel(id)).state, 'cancelled');
  const after = (await daemon.get('/admin/v1/journal')).json;
  assert.deepEqual([after.base_version, after.running_job], [journal.base_version, '']);
});

test('keys: reading needs read, changing needs operate', async () => {
  const key = (name, scope) => `    - {name: ${name}, sha256: ${crypto.createHash('sha256').update(name).digest('hex')}, scopes: [${scope}]}\n`;
  const guarded = await Daemon.start({
    model: models[0],
    config: `auth:\n  keys:\n${key('reader', 'read')}${key('operator', 'operate')}`,
  });
  try {
    const as = (name) => ({ authorization: `Bearer ${name}` });
    assert.equal((await guarded.get('/admin/v1/models', as('reader'))).status, 200);
    assert.equal((await guarded.get('/admin/v1/models', as('operator'))).status, 403);
    assert.equal((await guarded.get('/admin/v1/status')).status, 401);
    assert.equal((await guarded.post('/admin/v1/models/swap', { model: 'x' }, as('reader'))).status, 403);
    assert.equal((await guarded.post('/admin/v1/models/swap', { model: 'x' }, as('operator'))).status, 202);
    const config = (await guarded.get('/admin/v1/config', as('reader'))).json;
    assert.deepEqual(config.auth.keys[0], { name: 'reader', sha256: '***', scopes: ['read'],
      limits: { requests_per_s: null, tokens_per_s: null }, overlays: [] });
  } finally {
    await guarded.stop();
  }
});

test('what is counted of gates outlasts a swap: a pause, and keys and overlays by themselves', async () => {
  const counting = async () => (await daemon.get('/admin/v1/gates')).json.counting;
  await daemon.post('/admin/v1/gates/pause', {});
  assert.equal((await daemon.post('/admin/v1/gates/groups', { key: 'alice' })).status, 201);
  assert.equal((await daemon.post('/admin/v1/gates/groups', { overlay: 'tenant' })).status, 201);
  for (const model of [models[1], models[0]]) {
    assert.equal((await operate('models/swap', { model })).state, 'succeeded');
    assert.equal(await counting(), false);
    assert.deepEqual((await daemon.get('/admin/v1/gates')).json.groups, [{ key: 'alice' }, { overlay: 'tenant' }]);
    assert.equal((await daemon.get('/admin/v1/gates?key=alice')).json.tokens, 0);
  }
  await daemon.post('/admin/v1/gates/resume', {});
  assert.equal((await operate('models/swap', { model: models[1] })).state, 'succeeded');
  assert.equal(await counting(), true);
});
