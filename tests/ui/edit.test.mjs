// SPDX-License-Identifier: Apache-2.0
// What the model knows is changed, looked at, and brought back, all through the page.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { assertAccessible, launch, openPage, startDaemon } from './support.mjs';

let daemon;
let browser;
let texts;
before(async () => {
  texts = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-ui-texts-'));
  daemon = await startDaemon({ settings: [`models.directories=[${texts}]`] });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
  fs.rmSync(texts, { recursive: true, force: true });
});

async function answer(engram) {
  const { status, json, text } = await daemon.post('/v1/completions', { prompt: 'The capital of Mongolia is', max_tokens: 8, temperature: 0, engram });
  assert.equal(status, 200, text);
  return json.choices[0].text.trim();
}
async function version() {
  const { json } = await daemon.get('/admin/v1/commits');
  return json.commits[0]?.version ?? 0;
}
// Everything memory says at the end of "The capital of Mongolia is" becomes what it says of France.
async function makeFrench(page) {
  await page.show('edit');
  await page.getByLabel('Text', { exact: true }).fill('The capital of Mongolia is');
  await page.getByRole('button', { name: 'Find', exact: true }).click();
  await page.getByRole('button', { name: /^Add 32 rows/ }).click();
  await page.getByTestId('change-rows').getByRole('listitem').first().waitFor();
  await page.getByLabel('Text to copy from').fill('The capital of France is');
  await page.getByRole('button', { name: 'Copy', exact: true }).click();
  await page.getByText('32 rows change', { exact: true }).waitFor();
}

test('an edit changes an answer, a rollback restores it', async () => {
  assert.equal(await answer(), 'Ulaanbaatar.');
  const page = await openPage(browser, daemon.url);
  await makeFrench(page);
  await assertAccessible(page, 'a change');

  // Tried first: nobody else sees it, and nothing of it stays.
  await page.getByRole('button', { name: 'Compare' }).click();
  const versus = page.getByTestId('versus');
  await versus.getByText('Ulaanbaatar.').waitFor();
  await versus.getByText('Paris.').waitFor();
  assert.equal(await answer(), 'Ulaanbaatar.');
  assert.deepEqual((await daemon.get('/admin/v1/overlays')).json.overlays, []);
  assert.equal(await version(), 0);

  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  const plan = page.getByTestId('plan');
  await plan.getByText('32 rows change.').waitFor();
  await plan.getByText('No overlay holds one of these rows.').waitFor();
  await assertAccessible(page, 'a plan');
  assert.equal(await version(), 0);

  await page.getByLabel('Note').fill('Ulaanbaatar moves to the Seine <script>window.stung = 1</script>');
  await page.getByLabel('Author').fill('tests');
  await page.getByRole('button', { name: 'Commit …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('The result is version 1.', { exact: false }).waitFor();
  await assertAccessible(page, 'the commit dialog');
  // Escape is no.
  await page.keyboard.press('Escape');
  assert.equal(await version(), 0);
  await page.getByRole('button', { name: 'Commit …' }).click();
  await dialog.getByRole('button', { name: 'Commit' }).click();
  await page.getByText('Version 1 is live: 32 rows.').waitFor();
  await page.getByTestId('memory-version').filter({ hasText: 'v1' }).waitFor();
  assert.equal(await answer(), 'Paris.');
  assert.equal(await answer({ as_of: 0 }), 'Ulaanbaatar.');

  // What it did, and how it was before.
  await page.getByRole('tab', { name: 'History' }).click();
  const history = page.getByTestId('history');
  await history.getByText('Ulaanbaatar moves to the Seine <script>').waitFor();
  assert.equal(await page.evaluate(() => window.stung), undefined);
  await history.getByRole('button', { name: 'Diff' }).click();
  await history.getByText('What changed from v0 to v1').waitFor();
  await history.getByRole('img').first().waitFor();
  assert.equal(await history.getByRole('img').count(), 32);
  await assertAccessible(page, 'a diff');
  await page.getByRole('button', { name: 'Compare' }).click();
  await page.getByTestId('versus').getByText('Ulaanbaatar.').waitFor();
  await page.getByTestId('versus').getByText('Paris.').waitFor();

  await history.getByRole('button', { name: 'Roll back to here' }).click();
  await dialog.getByText('Every row becomes what it was at version 0', { exact: false }).waitFor();
  assert.equal(await answer(), 'Paris.');
  await dialog.getByRole('button', { name: 'Roll back' }).click();
  await page.getByText('Rolled back to version 0; it is version 2 now.').waitFor();
  assert.equal(await answer(), 'Ulaanbaatar.');
  await history.getByText('restores v0').waitFor();
  await page.done();
});

test('a commit in between is noticed, and nothing is written over it', async () => {
  const page = await openPage(browser, daemon.url);
  await makeFrench(page);
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await page.getByTestId('plan').waitFor();
  const before = await version();
  const { json: rows } = await daemon.get('/admin/v1/rows?layer=1&ids=7');
  const other = await daemon.post('/admin/v1/commits', { edits: [{ layer: 1, row: 7, values: rows.rows[0].values.map((value) => value + 1) }] });
  assert.equal(other.status, 201, other.text);
  await page.getByRole('button', { name: 'Commit …' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Commit' }).click();
  await page.getByRole('dialog').getByRole('alert').filter({ hasText: 'Somebody else committed' }).waitFor();
  assert.equal(await version(), before + 1);
  await page.done();
});

test('rows by id: values by hand, zeroed, scaled, exported and imported', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('edit');
  await page.getByRole('tab', { name: 'By row id' }).click();
  await page.getByLabel('Layer').fill('2');
  await page.getByLabel('Row ids').fill('11, 12');
  await page.getByRole('button', { name: 'Add to the change' }).click();
  const rows = page.getByTestId('change-rows').getByRole('listitem');
  await rows.nth(1).waitFor();
  await rows.first().getByRole('button', { name: 'Values' }).click();
  await rows.first().getByRole('textbox', { name: 'Values' }).fill('1 2 3');
  await rows.first().getByRole('button', { name: 'Apply' }).click();
  await page.getByText('Needs 32 numbers.').waitFor();
  await rows.first().getByRole('textbox', { name: 'Values' }).fill(Array(32).fill('0.5').join(', '));
  await rows.first().getByRole('button', { name: 'Apply' }).click();
  await page.getByText('1 row changes', { exact: true }).waitFor();
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Export' }).click();
  const path = await (await download).path();
  await page.getByRole('button', { name: 'Empty', exact: true }).click();
  await page.getByText('No row picked yet.', { exact: false }).waitFor();
  await page.getByLabel('Import …').setInputFiles(path);
  await page.getByText('1 edit imported.').waitFor();
  await page.getByText('1 row changes', { exact: true }).waitFor();
  await page.getByLabel('Import …').setInputFiles({ name: 'bad.json', mimeType: 'application/json', buffer: Buffer.from('{"edits": [{"row": 1}]}') });
  await page.getByRole('alert').filter({ hasText: 'edits[0].layer' }).waitFor();
  await page.getByRole('button', { name: 'As before' }).click();
  await page.getByText('0 rows change', { exact: true }).waitFor();
  await page.done();
});

async function rowsOf(layer, ids) {
  const { json } = await daemon.get(`/admin/v1/rows?layer=${layer}&ids=${ids}`);
  return json.rows;
}
const chooseFile = (page, name, content) => page.getByLabel('Import …').setInputFiles({ name, mimeType: '', buffer: Buffer.from(content) });

test('CSV: rows become part of the change; errors name line and column', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('edit');
  const ones = Array(32).fill('0.25');
  const line = (...cells) => cells.join(',');
  for (const [content, error] of [
    ['', 'it has no line of values'],
    ['layer,row\n', 'it has no line of values'],
    [line(1, 7, ...ones) + '\n' + line(1, 8, ...ones.slice(1), 'abc'), 'line 2, column 34: “abc” is no number'],
    [line(1, 7, ...ones) + '\n\n' + line(1, -8, ...ones), 'line 3, column 2: “-8” is no whole number from 0 on'],
    [line(1, 7, ...ones) + '\r\n' + line(1, 7, ...ones), 'line 2, column 2: layer 1, row 7 stands in line 1 already'],
    [line(1, 7, ...ones.slice(1)), 'line 1, column 34: 31 values, a row of this layer has 32'],
    [line(1, 7, ...ones, 1), 'line 1, column 35: 33 values, a row of this layer has 32'],
    [line(1, 7), 'line 1, column 3: values are missing'],
    [line('layer', 'column'), 'line 1, column 2: the names begin with layer, row; this is “column”'],
    ['# of another model\n' + line(9, 7, ...ones), 'line 2, column 1: the model has no memory at layer 9, only at 1, 2'],
    [line(2, 999999999999, ...ones), 'line 1, column 2: there is no row 999999999999; the layer has'],
    ['\u0000\u0001<b>', 'line 1, column 1:'],
  ]) {
    await chooseFile(page, 'rows.csv', content);
    await page.getByRole('alert').filter({ hasText: error }).waitFor();
    assert.equal(await page.getByTestId('change-rows').count(), 0, error);
  }
  // As a spreadsheet writes it.
  await chooseFile(page, 'rows.csv', '\ufefflayer;row;values\r\n1;7;' + ones.join(';') + '\r\n"2";"8";' + ones.map((one) => `"${one}"`).join(';') + '\r\n');
  await page.getByText('2 edits imported.').waitFor();
  await page.getByText('2 rows change', { exact: true }).waitFor();
  const before = await version();
  await page.getByRole('button', { name: 'Commit …' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Commit' }).click();
  await page.getByText(`Version ${before + 1} is live`, { exact: false }).waitFor();
  // Stored in the table's own format, that of its neighbours.
  for (const [layer, id] of [[1, 7], [2, 8]]) {
    const [row] = await rowsOf(layer, id);
    assert.equal(row.version, before + 1);
    assert.ok(row.values.every((value) => Math.abs(value - 0.25) < 0.01), `${row.values}`);
  }
  await page.done();
});

// `tensors`: name -> [type, shape, bytes].
function safetensors(tensors, metadata) {
  const header = metadata ? { __metadata__: metadata } : {};
  const parts = [];
  let at = 0;
  for (const [name, [dtype, shape, bytes]] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [at, (at += bytes.byteLength)] };
    parts.push(Buffer.from(bytes.buffer));
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...parts]);
}
const edits = (ids, value, width = 32) => ({
  'layer.2.rows': ['I64', [ids.length], BigInt64Array.from(ids.map(BigInt))],
  'layer.2.values': ['F32', [ids.length, width], new Float32Array(ids.length * width).fill(value)],
});

test('a safetensors file is planned and committed as it is', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('edit');
  for (const [content, error] of [
    ['short', 'it is too short for a safetensors file'],
    ['{"edits": []}', 'its safetensors header is said to have'],
    [Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{a}')]), 'its safetensors header is no JSON object'],
    [safetensors({ other: ['F32', [1], new Float32Array(1)] }), 'it has no tensor layer.L.rows'],
  ]) {
    await chooseFile(page, 'rows.safetensors', content);
    await page.getByRole('alert').filter({ hasText: error }).waitFor();
    assert.equal(await page.getByTestId('change-file').count(), 0, error);
  }
  // What only the server can see.
  const empty = page.getByRole('button', { name: 'Empty', exact: true });
  const plan = page.getByRole('button', { name: 'Plan', exact: true });
  await chooseFile(page, 'rows.safetensors', safetensors(edits([21, 22], 0.5, 31)));
  await page.getByTestId('change-file').getByText('Layer 2: 2 rows').waitFor();
  await plan.click();
  await page.getByRole('alert').filter({ hasText: 'layer.2.values' }).waitFor();
  await empty.click();

  const before = await version();
  await chooseFile(page, 'rows.safetensors', safetensors(edits([21, 22, 23], 0.5), { note: 'of the file', author: 'Ada', if_version: '0' }));
  await page.getByText('3 edits imported.').waitFor();
  await assertAccessible(page, 'a file');
  // It is a change by itself.
  await chooseFile(page, 'more.csv', '1,7,1');
  await page.getByRole('alert').filter({ hasText: 'Empty the change first.' }).waitFor();
  await plan.click();
  await page.getByTestId('plan').getByText('3 rows change', { exact: false }).waitFor();
  assert.equal(await version(), before, 'a plan changes nothing');
  await page.getByLabel('Note').fill('from a file');
  await page.getByRole('button', { name: 'Commit …' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Commit' }).click();
  await page.getByText(`Version ${before + 1} is live`, { exact: false }).waitFor();
  assert.equal(await page.getByTestId('change-file').count(), 0);
  const { json } = await daemon.get('/admin/v1/commits?limit=1');
  assert.equal(json.commits[0].note, 'from a file');
  assert.equal(json.commits[0].author, 'Ada');
  for (const row of await rowsOf(2, '21,22,23')) assert.ok(row.values.every((value) => Math.abs(value - 0.5) < 0.01), `${row.values}`);
  await page.done();
});

test('who else reads the rows: a text is indexed from the plan', async () => {
  fs.writeFileSync(path.join(texts, 'traffic.txt'), 'The capital of Mongolia is Ulaanbaatar. Where is Mongolia? '.repeat(50));
  const page = await openPage(browser, daemon.url);
  await makeFrench(page);
  const plan = page.getByTestId('plan');
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await plan.getByText('No text was indexed', { exact: false }).waitFor();
  await plan.getByRole('button', { name: 'Index a text …' }).click();
  const dialog = page.getByRole('dialog');
  await assertAccessible(page, 'the question for a text');
  await dialog.getByLabel('File on the server', { exact: false }).fill('traffic.txt');
  await dialog.getByRole('button', { name: 'Index' }).click();
  await page.getByTestId('jobs').getByRole('listitem').filter({ hasText: 'n-gram index' }).getByText('succeeded').waitFor();
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await plan.getByText('found in a sample of', { exact: false }).waitFor();
  await plan.getByText('of Mongolia', { exact: true }).waitFor();
  await page.done();
});

test('an overlay: saved from a change, seen by those who ask, deleted for good', async () => {
  const page = await openPage(browser, daemon.url);
  await makeFrench(page);
  await page.getByRole('button', { name: 'Save as overlay …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('seine');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Overlay “seine” is there.').waitFor();
  assert.equal(await answer({ overlays: ['seine'] }), 'Paris.');
  assert.equal(await answer(), 'Ulaanbaatar.');
  await page.getByRole('tab', { name: 'Overlays' }).click();
  await page.getByTestId('overlays').getByText('32 rows').waitFor();
  await assertAccessible(page, 'overlays');
  await page.getByRole('button', { name: 'Delete: seine' }).click();
  await dialog.getByText('cannot be brought back', { exact: false }).waitFor();
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await page.getByText('Overlay “seine” is deleted.').waitFor();
  const gone = await daemon.post('/v1/completions', { prompt: 'a', max_tokens: 1, engram: { overlays: ['seine'] } });
  assert.equal(gone.status, 404);
  await page.done();
});

test('from a token in the microscope to its rows', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('microscope');
  await page.getByRole('button', { name: 'Look', exact: true }).waitFor();
  await page.getByTestId('strip').getByRole('option').nth(4).click();
  await page.getByRole('button', { name: 'Edit these rows' }).click();
  await page.getByRole('heading', { level: 1, name: 'Edit' }).waitFor();
  await page.getByRole('radio', { name: 'ongolia' }).waitFor();
  assert.ok(await page.getByRole('radio', { name: 'ongolia' }).isChecked());
  await page.getByRole('button', { name: /^Add \d+ rows/ }).waitFor();
  await page.done();
});
