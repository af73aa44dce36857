// SPDX-License-Identifier: Apache-2.0
// Tables on disk behind a cache, and tiers that fail: what a client gets, and that nobody gets wrong rows.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Daemon, engramctl, expected, pluginDirectories, vectorModelDir } from './daemon.mjs';

const name = 'dense-paper-hc4';
const { cases } = expected(name);
const layers = Object.keys(cases[0].gates);
let dir;
let model;

const table = (layer) => path.join(dir, `l${layer}.ngt`);
const tables = () => `{${layers.map((layer) => `${layer}: ${table(layer)}`).join(', ')}}`;
const cache = `
    - {name: near, plugin: tier_dram, options: {mode: cache}, capacity: 4MiB}`;
const onDisk = () => `memory:
  tiers:${cache}
    - {name: disk, plugin: tier_file}
  tables: ${tables()}
`;

// A store that fails as the file `control` says.
const control = () => path.join(dir, 'faults');
function setFaults(text) {
  fs.writeFileSync(`${control()}.new`, text);
  fs.renameSync(`${control()}.new`, control());
}
const failing = (before = '') => `plugins: {directories: [${pluginDirectories.join(', ')}]}
memory:
  tiers:${before}
    - {name: far, plugin: fault_tier, options: {control: ${control()}}}
`;

before(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-tiers-'));
  model = vectorModelDir(name, dir);
  for (const layer of layers) {
    execFileSync(engramctl, ['table', 'pack', '--model', model, '--layer', layer, '--out', table(layer)]);
  }
});
after(() => fs.rmSync(dir, { recursive: true, force: true }));

const request = (testCase, engram = {}) => ({
  prompt: testCase.prompt,
  max_tokens: testCase.greedy.length,
  temperature: 0,
  ignore_eos: true,
  return_token_ids: true,
  engram,
});
async function expectRight(daemon, testCase = cases[0]) {
  const { status, json } = await daemon.post('/v1/completions', request(testCase));
  assert.equal(status, 200, JSON.stringify(json));
  assert.deepEqual(json.choices[0].token_ids, testCase.greedy);
}

test('a cache before tables on disk, in numbers', async (t) => {
  // Every read is a batch's own.
  const daemon = await Daemon.start({ model, config: `${onDisk()}  lookahead: 0\n` });
  t.after(() => daemon.stop());
  for (const testCase of [...cases, ...cases]) await expectRight(daemon, testCase);

  const { status, json } = await daemon.get('/admin/v1/tiers');
  assert.equal(status, 200);
  assert.equal(json.tiers.length, 2 * layers.length);
  for (const layer of layers) {
    const [near, disk] = json.tiers.filter((tier) => tier.table === Number(layer));
    assert.deepEqual([near.name, near.kind, near.plugin, near.cache], ['near', 'dram', 'tier_dram', true]);
    assert.deepEqual([disk.name, disk.kind, disk.plugin, disk.cache], ['disk', 'file', 'tier_file', false]);
    assert.equal(near.model, name);
    assert.equal(near.capacity_bytes, 4 << 20);
    assert.ok(near.resident_bytes > 0 && near.resident_bytes <= near.capacity_bytes);
    assert.equal(near.hits + near.misses, near.rows);
    assert.ok(near.hits > 0);
    assert.equal(near.bytes, near.hits * 64);
    assert.equal(disk.rows, near.misses);
    assert.equal(near.fills, near.misses);
    assert.equal(near.read_latency, null);
    const { count, buckets, p50_us: p50, p99_us: p99, p999_us: p999 } = disk.read_latency;
    assert.ok(count > 0 && count <= disk.rows && p50 > 0 && p50 <= p99 && p99 <= p999);
    assert.equal(buckets.reduce((sum, bucket) => sum + bucket.count, 0), count);
    assert.deepEqual([disk.errors, disk.retries, disk.queue_depth], [0, 0, 0]);

    const of = json.layers.find((entry) => entry.layer === Number(layer));
    assert.equal(of.row_bytes, 64);
    assert.equal(of.rows_read, near.rows);
    assert.ok(of.rows_requested >= of.rows_read && of.batches > 0);
    assert.ok(of.gather_seconds > 0 && of.stall_seconds >= 0);

    const where = `layer="${layer}"`;
    assert.equal(await daemon.metric('engramd_tier_hits_total', `tier="near",${where}`), near.hits);
    assert.equal(await daemon.metric('engramd_tier_read_seconds_count', `tier="disk",${where}`), count);
    assert.equal(await daemon.metric('engramd_tier_read_seconds_bucket', `tier="disk",${where},le="+Inf"`), count);
    assert.equal(await daemon.metric('engramd_tier_queue_depth', where), 0);
  }
});

test('which rows are read, in ranges and as a curve', async (t) => {
  const daemon = await Daemon.start({ model, config: onDisk() });
  t.after(() => daemon.stop());
  const layer = Number(layers[0]);
  const heat = async () => {
    const { status, json } = await daemon.get(`/admin/v1/tiers/heat?layer=${layer}`);
    assert.equal(status, 200);
    return json;
  };
  const before = await heat();
  assert.deepEqual([before.layer, before.sampled_reads, before.sample_rate, before.curve], [layer, 0, 0, []]);
  const { json: tiers } = await daemon.get('/admin/v1/tiers');
  assert.equal(before.rows, tiers.layers.find((entry) => entry.layer === layer).num_rows);
  assert.deepEqual(tiers.warm_up, { state: 'none', rows_done: 0, rows_total: 0 });
  assert.equal(before.ranges.length, 256);
  assert.equal(before.ranges[0].first_row, 0);
  before.ranges.slice(1).forEach((range, i) => assert.equal(range.first_row, before.ranges[i].end_row));
  assert.equal(before.ranges.at(-1).end_row, before.rows);

  // The first batch is looked at, with each of its rows once.
  const { status, json } = await daemon.post('/v1/completions', {
    prompt: Array.from({ length: 200 }, (_, i) => (i * i) % 50), max_tokens: 1, engram: { rows: true } });
  assert.equal(status, 200, JSON.stringify(json));
  const after = await heat();
  const read = [...new Set(json.choices[0].engram.rows.flatMap((position) => position[0]))];
  assert.equal(after.sampled_reads, read.length);
  assert.equal(after.sample_rate, 1);
  for (const range of after.ranges) {
    assert.equal(range.reads, read.filter((row) => row >= range.first_row && row < range.end_row).length);
  }
  const last = after.curve.at(-1);
  assert.deepEqual(last, { rows_share: 1, reads_share: 1 });
  after.curve.slice(1).forEach((point, i) => {
    assert.ok(point.rows_share > after.curve[i].rows_share && point.reads_share >= after.curve[i].reads_share);
  });

  const text = execFileSync(engramctl, ['tiers', '--heat', '--layer', String(layer), '--url', daemon.url], { encoding: 'utf8' });
  assert.match(text, new RegExp(`layer ${layer}: ${after.rows} rows, \\d+ reads sampled`));
  assert.match(text, /SHARE OF READS/);
  assert.match(execFileSync(engramctl, ['tiers', '--url', daemon.url], { encoding: 'utf8' }), /near[^]*warm-up: none/);
  for (const [query, wanted] of [['', 400], ['?layer=x', 400], ['?layer=9999', 400], [`?layer=${layer}&model=none`, 404],
    [`?layer=${layer}&colour=red`, 400]]) {
    assert.equal((await daemon.get(`/admin/v1/tiers/heat${query}`)).status, wanted, query);
  }
});

// The model without its tables, which are elsewhere, in rows of `format`; `engram` changes its engram object.
function bareModel(to, format, engram = {}) {
  fs.cpSync(model, to, { recursive: true });
  const config = JSON.parse(fs.readFileSync(path.join(to, 'config.json'), 'utf8'));
  Object.assign(config.engram, engram, { row_format: format });
  fs.writeFileSync(path.join(to, 'config.json'), JSON.stringify(config));
  const bytes = fs.readFileSync(path.join(to, 'model.safetensors'));
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const kept = [];
  const header = {};
  let offset = 0;
  for (const [tensor, info] of Object.entries(JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)))) {
    if (tensor === '__metadata__' || tensor.includes('engram.embed')) continue;
    const [begin, end] = info.data_offsets.map((at) => 8 + headerBytes + at);
    kept.push(bytes.subarray(begin, end));
    header[tensor] = { ...info, data_offsets: [offset, (offset += end - begin)] };
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  fs.writeFileSync(path.join(to, 'model.safetensors'), Buffer.concat([length, text, ...kept]));
  return to;
}

test('a model directory without the tables that are packed', async (t) => {
  const daemon = await Daemon.start({ model: bareModel(path.join(dir, 'bare'), 'bf16'), config: onDisk() });
  t.after(() => daemon.stop());
  for (const testCase of cases) await expectRight(daemon, testCase);
});

// docs/formats.md: synthetic rows of fp8, seed 0, and pages.
const mask = (1n << 64n) - 1n;
function mix(x) {
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & mask;
  return x ^ (x >> 31n);
}
function syntheticRow(row, values) {
  const bytes = Buffer.alloc(values + values / 32);
  let base = mix(mix(BigInt(row)));
  const fill = (from, to, keep, set) => {
    for (let at = from; at < to; at += 8) {
      base = (base + 0x9e3779b97f4a7c15n) & mask;
      bytes.writeBigUInt64LE((mix(base) & keep) | set, at);
    }
  };
  fill(0, values, 0xbfbfbfbfbfbfbfbfn, 0n);
  fill(values, bytes.length, 0x0303030303030303n, 0x7878787878787878n);
  return bytes;
}
function crc32c(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; ++bit) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}
function writePage(file, page, rowsPerPage, rowBytes, tableId, numRows) {
  const bytes = Buffer.alloc(4096);
  for (let i = 0; i < rowsPerPage && page * rowsPerPage + i < numRows; ++i) {
    syntheticRow(page * rowsPerPage + i, 256).copy(bytes, i * rowBytes);
  }
  const place = Buffer.alloc(16);
  tableId.copy(place);
  place.writeBigUInt64LE(BigInt(page), 8);
  bytes.writeUInt32LE(crc32c(Buffer.concat([place, bytes.subarray(0, 4092)])), 4092);
  fs.writeSync(file, bytes, 0, 4096, 4096 + page * 4096);
}

test('two tables of 384 million rows of 264 bytes', async (t) => {
  // The weights fit any geometry in which a token's rows have as many values as the model's own, 256: here in one row.
  const engram = { max_ngram_size: 2, n_heads: 1, head_dim: 256, vocab_size: [384e6] };
  const large = bareModel(path.join(dir, 'large'), 'fp8_e4m3_ue8m0', engram);
  const files = layers.map((layer) => path.join(large, `l${layer}.ngt`));
  layers.forEach((layer, i) => execFileSync(engramctl, ['table', 'synth', '--model', large, '--layer', layer, '--format',
    'fp8_e4m3_ue8m0', '--sparse', '--out', files[i]]));
  const largeTables = `  tables: {${layers.map((layer, i) => `${layer}: ${files[i]}`).join(', ')}}\n`;
  const prompts = cases.map((testCase) => ({ ...request(testCase, { gates: true, rows: true }), max_tokens: 24 }));
  const run = async (daemon) => {
    const choices = [];
    for (const body of prompts) {
      const { status, json } = await daemon.post('/v1/completions', body);
      assert.equal(status, 200, JSON.stringify(json));
      choices.push(json.choices[0]);
    }
    return choices;
  };

  // What all rows would give, from a tier that computes them.
  const computed = `plugins: {directories: [${pluginDirectories.join(', ')}]}
memory:
  tiers: [{name: computed, plugin: fault_tier, options: {rows: synthetic}}]
${largeTables}`;
  const reference = await Daemon.start({ model: large, config: computed });
  t.after(() => reference.stop());
  const wanted = await run(reference);

  // The files hold few pages; those that are wanted are added.
  let furthest = 0;
  files.forEach((name, i) => {
    const file = fs.openSync(name, 'r+');
    const header = Buffer.alloc(4096);
    fs.readSync(file, header, 0, 4096, 0);
    const [rowBytes, rowsPerPage] = [header.readUInt32LE(32), header.readUInt32LE(44)];
    const numRows = Number(header.readBigUInt64LE(24));
    assert.deepEqual([rowBytes, rowsPerPage], [264, 15]);
    assert.ok(numRows >= 384e6 && fs.fstatSync(file).size > 100e9);
    for (const row of wanted.flatMap((choice) => choice.engram.rows.map((position) => position[i][0]))) {
      const page = Math.floor(row / rowsPerPage);
      writePage(file, page, rowsPerPage, rowBytes, header.subarray(64, 72), numRows);
      furthest = Math.max(furthest, 4096 * (page + 1));
    }
    fs.closeSync(file);
  });
  assert.ok(furthest > 64 * 2 ** 30);
  const daemon = await Daemon.start({ model: large, config: `memory:
  tiers:${cache}
    - {name: disk, plugin: tier_file}
${largeTables}` });
  t.after(() => daemon.stop());
  // Bit for bit, from the disk and from the cache.
  for (let times = 0; times < 2; ++times) assert.deepEqual(await run(daemon), wanted);
  assert.ok((await daemon.metric('engramd_tier_hits_total', 'tier="near"')) > 0);
});

test('a damaged page is an error that names it, and the daemon goes on', async (t) => {
  const damaged = table('damaged');
  const bytes = fs.readFileSync(table(layers[0]));
  for (let page = 4096; page < bytes.length; page += 4096) bytes[page + 100] ^= 1;
  fs.writeFileSync(damaged, bytes);
  const daemon = await Daemon.start({ model, config: onDisk().replace(table(layers[0]), damaged) });
  t.after(() => daemon.stop());
  for (let i = 0; i < 2; ++i) {
    const { status, json } = await daemon.post('/v1/completions', request(cases[0]));
    assert.equal(status, 500);
    assert.match(json.error.message, /tier "disk", layer \d+: .*damaged\.ngt: .*page \d+ at byte \d+/);
  }
  const { status } = await daemon.post('/v1/completions', request(cases[0], { enabled: false }));
  assert.equal(status, 200);
  const { json } = await daemon.get('/admin/v1/tiers');
  assert.ok(json.tiers.find((tier) => tier.name === 'disk').errors >= 2);
});

for (const [what, before] of [['alone', ''], ['behind a cache', cache]]) {
  test(`a failing tier ${what}`, async (t) => {
    fs.rmSync(control(), { force: true });
    const daemon = await Daemon.start({ model, config: `${failing(before)}  lookahead: 0\n` });
    t.after(() => daemon.stop());
    const fail = async (faults, want, message) => {
      setFaults(faults);
      // Rows that no request before has brought into the cache.
      const { status, json } = await daemon.post('/v1/completions', { prompt: fresh(), max_tokens: 2 });
      assert.equal(status, want, JSON.stringify(json));
      if (want !== 200) assert.match(json.error.message, message);
      setFaults('');
      await expectRight(daemon);
    };
    let next = 10;
    const fresh = () => Array.from({ length: 12 }, () => (next = (next * 37 + 11) % 4000));

    await expectRight(daemon);
    await fail('error_at=1', 500, /tier "far", layer \d+: .*row \d+: fault on demand/);
    await fail('unavailable=2', 200);
    await fail('unavailable=100', 503, /tier "far", layer \d+: .*out of reach on demand/);
    await fail('delay_us=2000', 200);
    assert.ok((await daemon.metric('engramd_tier_errors_total', 'tier="far"')) >= 6);
    // The retries are counted; no other request was failed.
    const { json } = await daemon.get('/admin/v1/tiers');
    assert.ok(json.layers.reduce((sum, layer) => sum + layer.retries, 0) >= 4);
  });
}

test('rows that are wrong without anybody noticing crash nothing', async (t) => {
  fs.rmSync(control(), { force: true });
  const daemon = await Daemon.start({ model, config: failing() });
  t.after(() => daemon.stop());
  for (const faults of ['flip_at=1', 'torn_at=1', 'flip_at=3', 'torn_at=2']) {
    setFaults(faults);
    const { status } = await daemon.post('/v1/completions', request(cases[0]));
    assert.ok(status === 200 || status === 500, `${status}`);
    setFaults('');
    await expectRight(daemon);
  }
});

test('a tier that stalls', async (t) => {
  fs.rmSync(control(), { force: true });
  const config = `${failing()}  read_timeout: 500ms\n  on_failure: unready\n`;
  const daemon = await Daemon.start({ model, config });
  t.after(() => {
    setFaults('');
    return daemon.stop();
  });
  await expectRight(daemon);
  setFaults('stall_from=1');
  const { status, json, headers } = await daemon.post('/v1/completions', request(cases[1]));
  assert.equal(status, 503);
  assert.match(json.error.message, /tier "far", layer \d+: no answer within 500 ms \(memory\.read_timeout\)/);
  assert.ok(headers.get('retry-after'));

  const off = { enabled: false };
  const { json: without } = await daemon.post('/v1/completions', request(cases[1], off));
  assert.deepEqual(without.choices[0].token_ids, cases[1].greedy_engram_off);
  assert.equal(without.choices[0].engram, undefined);
  const skip = { on_error: 'skip' };
  const { json: skipped } = await daemon.post('/v1/completions', request(cases[1], skip));
  assert.deepEqual(skipped.choices[0].token_ids, cases[1].greedy_engram_off);
  assert.equal(skipped.choices[0].engram.skipped_from, 0);
  assert.match(skipped.choices[0].engram.skip_reason, /tier "far"/);
  const events = await daemon.stream('/v1/completions', request(cases[1], skip));
  const last = events.filter((event) => event.choices?.[0]?.finish_reason).at(-1);
  assert.equal(last.choices[0].engram.skipped_from, 0);
  assert.equal(await daemon.metric('engramd_memory_skips_total'), 2);
  assert.equal((await daemon.post('/v1/completions', request(cases[1], { on_error: 'x' }))).status, 400);

  const notReady = await daemon.get('/health/ready');
  assert.deepEqual([notReady.status, notReady.json.status], [503, 'memory_failing']);
  setFaults('');
  await daemon.until(async () => (await daemon.get('/health/ready')).status === 200);
  for (const testCase of cases) await expectRight(daemon, testCase);
  const { json: tiers } = await daemon.get('/admin/v1/tiers');
  assert.equal(tiers.layers.reduce((sum, layer) => sum + layer.timeouts, 0), 1);
});

test('a process that ends while its tier stalls', async (t) => {
  fs.rmSync(control(), { force: true });
  const daemon = await Daemon.start({ model, config: `${failing()}  read_timeout: 500ms\n` });
  t.after(() => setFaults(''));
  setFaults('stall_from=1');
  assert.equal((await daemon.post('/v1/completions', request(cases[1]))).status, 503);
  assert.deepEqual(await daemon.stop(), { code: 0, signal: null });
});

test('swaps and the end while a tier stalls', async (t) => {
  fs.rmSync(control(), { force: true });
  const daemon = await Daemon.start({ model, config: `${failing(cache)}  read_timeout: 500ms\n` });
  t.after(() => {
    setFaults('');
    return daemon.stop();
  });
  await expectRight(daemon);
  setFaults('stall_from=1');
  const fresh = { prompt: Array.from({ length: 300 }, (_, i) => (i * 37 + 5) % 4000), max_tokens: 2 };
  assert.equal((await daemon.post('/v1/completions', fresh)).status, 503);
  // The second one begins when the engine of the first has ended, with threads that still read.
  for (let i = 0; i < 2; ++i) {
    const { status, json } = await daemon.post('/admin/v1/models/swap', { model });
    assert.equal(status, 202, JSON.stringify(json));
    let operation;
    await daemon.until(async () => {
      operation = (await daemon.get(`/admin/v1/operations/${json.operation}`)).json;
      return !['queued', 'running'].includes(operation.state);
    });
    assert.equal(operation.state, 'succeeded', JSON.stringify(operation));
    const off = await daemon.post('/v1/completions', request(cases[1], { enabled: false }));
    assert.deepEqual(off.json.choices[0].token_ids, cases[1].greedy_engram_off);
    assert.equal((await daemon.post('/v1/completions', fresh)).status, 503);
  }
  setFaults('');
  await daemon.until(async () => (await daemon.post('/v1/completions', fresh)).status === 200);
  for (const testCase of cases) await expectRight(daemon, testCase);
  setFaults('stall_from=1');
  assert.equal((await daemon.post('/v1/completions', { ...fresh, prompt: fresh.prompt.map((id) => id + 1) })).status, 503);
  assert.deepEqual(await daemon.stop(), { code: 0, signal: null });
});

test('a warm-up from a tier that stalls keeps nobody', async (t) => {
  fs.rmSync(control(), { force: true });
  const stateDir = path.join(dir, 'stalled-state');
  const start = () => Daemon.start({ model, config: failing(cache), stateDir });
  const first = await start();
  for (const testCase of [...cases, ...cases]) await expectRight(first, testCase);
  assert.deepEqual(await first.stop(), { code: 0, signal: null });
  setFaults('stall_from=1');
  t.after(() => setFaults(''));
  const second = await start();
  const { json } = await second.get('/admin/v1/tiers');
  assert.equal(json.warm_up.state, 'running');
  assert.equal(json.warm_up.rows_done, 0);
  assert.ok(json.warm_up.rows_total > 0);
  const off = await second.post('/v1/completions', request(cases[1], { enabled: false }));
  assert.deepEqual(off.json.choices[0].token_ids, cases[1].greedy_engram_off);
  assert.deepEqual(await second.stop(), { code: 0, signal: null });

  setFaults('unavailable=100');
  const third = await start();
  t.after(() => third.stop());
  await third.until(async () => (await third.get('/admin/v1/tiers')).json.warm_up.state === 'failed');
});

test('kill -9 under load, and warm again', async (t) => {
  const stateDir = path.join(dir, 'state');
  const config = `${onDisk()}  hot_set: {save_every: 50ms}\n`;
  const start = () => Daemon.start({ model, config, stateDir });
  const first = await start();
  t.after(() => first.stop());
  for (const testCase of [...cases, ...cases]) await expectRight(first, testCase);
  const saves = () => first.metric('engramd_memory_hot_set_saves_total');
  const before = await saves();
  await first.until(async () => (await saves()) >= before + 2);
  const load = Promise.allSettled(
    cases.map((testCase) => first.post('/v1/completions', { ...request(testCase), max_tokens: 400 })));
  await first.until(async () => (await first.metric('engramd_running_sequences')) > 0);
  first.child.kill('SIGKILL');
  await first.exited;
  await load;

  const files = fs.readdirSync(path.join(stateDir, 'hot')).sort();
  assert.deepEqual(files, layers.map((layer) => `${name.replaceAll('-', '%2d')}-${layer}-near.ids`));
  const second = await start();
  t.after(() => second.stop());
  let warm;
  await second.until(async () => (warm = (await second.get('/admin/v1/tiers')).json.warm_ups[0]).done);
  assert.ok(warm.rows > 0);
  assert.equal(warm.rows, warm.rows_total);
  assert.deepEqual((await second.get('/admin/v1/tiers')).json.warm_up,
    { state: 'done', rows_done: warm.rows, rows_total: warm.rows_total });
  const disk = () => second.metric('engramd_tier_rows_total', 'tier="disk"');
  const read = await disk();
  const hits = await second.metric('engramd_tier_hits_total', 'tier="near"');
  for (const testCase of cases) await expectRight(second, testCase);
  assert.equal(await disk(), read, 'all rows were in the cache');
  assert.ok((await second.metric('engramd_tier_hits_total', 'tier="near"')) > hits);
  assert.deepEqual(await second.stop(), { code: 0, signal: null });

  // What is no hot set costs a warning and time, nothing else.
  for (const file of files) fs.writeFileSync(path.join(stateDir, 'hot', file), 'no hot set');
  const third = await start();
  t.after(() => third.stop());
  assert.match(third.log, /not a hot set; the cache "near" starts cold/);
  assert.equal((await third.get('/admin/v1/tiers')).json.warm_ups[0].rows_total, 0);
  for (const testCase of cases) await expectRight(third, testCase);
});

test('rows of a prompt are read ahead of its batch', async (t) => {
  const daemon = await Daemon.start({ model, config: onDisk() });
  t.after(() => daemon.stop());
  // They wait behind one another, so the later ones' rows are read while the first is computed.
  const bodies = Array.from({ length: 4 }, (_, i) => ({
    prompt: Array.from({ length: 400 }, (_unused, k) => (k * 37 + i * 911) % 4000),
    max_tokens: 1,
  }));
  const answers = await Promise.all(bodies.map((body) => daemon.post('/v1/completions', body)));
  for (const { status } of answers) assert.equal(status, 200);
  assert.ok((await daemon.metric('engramd_memory_lookahead_rows_total')) > 0);
  for (const testCase of cases) await expectRight(daemon, testCase);
});

test('rows of a sampled token are asked for before its step', async (t) => {
  for (const [lookahead, asked] of [[0, 0], [16, cases.reduce((sum, testCase) => sum + testCase.greedy.length - 1, 0)]]) {
    const daemon = await Daemon.start({ model, config: `${onDisk()}  lookahead: ${lookahead}\n` });
    t.after(() => daemon.stop());
    for (const testCase of cases) await expectRight(daemon, testCase);
    // The last token of each has no step.
    assert.equal(await daemon.metric('engramd_memory_asked_tokens_total'), asked);
    // All at once: each sequence has its own.
    await Promise.all(cases.map((testCase) => expectRight(daemon, testCase)));
  }
});

test('the numbers need the scope read', async (t) => {
  const key = (scope) => `{name: ${scope}, sha256: ${createHash('sha256').update(scope).digest('hex')}, scopes: [${scope}]}`;
  const daemon = await Daemon.start({ model, config: `auth: {keys: [${key('read')}, ${key('generate')}]}\n` });
  t.after(() => daemon.stop());
  const get = (bearer) => daemon.get('/admin/v1/tiers', bearer ? { authorization: `Bearer ${bearer}` } : {});
  assert.deepEqual(
    [(await get()).status, (await get('generate')).status, (await get('read')).status], [401, 403, 200]);
  assert.equal((await daemon.post('/admin/v1/tiers', {}, { authorization: 'Bearer read' })).status, 405);
});
