// SPDX-License-Identifier: Apache-2.0
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { assertAccessible, launch, model, openPage, startDaemon } from './support.mjs';

let daemon;
let browser;
let models;
before(async () => {
  models = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-ui-models-'));
  fs.cpSync(model, path.join(models, 'lexicon-two'), { recursive: true });
  daemon = await startDaemon({ settings: [`models.directories=[${models}]`] });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
  fs.rmSync(models, { recursive: true, force: true });
});

test('a swap under load: asked first, progress seen, no request lost', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('operate');
  const stop = new AbortController();
  const statuses = [];
  const load = Array.from({ length: 8 }, async () => {
    while (!stop.signal.aborted) {
      const { status, json } = await daemon.post('/v1/completions', { prompt: 'The capital of Mongolia is', max_tokens: 16, temperature: 0 });
      statuses.push([status, json.choices?.[0].text]);
    }
  });
  try {
    await page.getByRole('button', { name: 'Swap …' }).first().click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('New requests go to the new one', { exact: false }).waitFor();
    await assertAccessible(page, 'the swap dialog');
    await dialog.getByLabel('Model directory').fill(path.join(models, 'lexicon-two'));
    await dialog.getByRole('button', { name: 'Swap' }).click();
    await page.getByText('The swap is done.').waitFor({ timeout: 120_000 });
    await page.getByText(path.join(models, 'lexicon-two'), { exact: true }).first().waitFor();
    // A second of an idle page is a few requests; an effect that feeds itself makes hundreds.
    let asked = 0;
    page.on('request', () => (asked += 1));
    await page.waitForTimeout(1000);
    assert.ok(asked < 25, `${asked} requests in a second`);
    await page.getByRole('tab', { name: 'Events' }).click();
    await page.getByTestId('events').getByText('succeeded').waitFor();
  } finally {
    stop.abort();
    await Promise.all(load);
  }
  assert.ok(statuses.length > 0);
  assert.deepEqual([...new Set(statuses.map((one) => JSON.stringify(one)))], ['[200," Ulaanbaatar."]']);
  await page.done();
});

test('a swap that fails says why, and the old model goes on', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('operate');
  await page.getByRole('button', { name: 'Swap …' }).first().click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Model directory').fill(path.join(models, 'no-such-model'));
  await dialog.getByRole('button', { name: 'Swap' }).click();
  await page.getByRole('alert').filter({ hasText: 'no-such-model' }).waitFor();
  const { status } = await daemon.post('/v1/completions', { prompt: 'a', max_tokens: 1 });
  assert.equal(status, 200);
  await page.done();
});

test('a second model: loaded beside the first, looked at and edited by itself, unloaded', async () => {
  const answer = async (of) => (await daemon.post('/v1/completions', { model: of, prompt: 'The capital of Mongolia is', max_tokens: 8, temperature: 0 })).json.choices[0].text;
  const page = await openPage(browser, daemon.url);
  await page.show('operate');
  await page.getByRole('button', { name: 'Load another model …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Model directory').fill(path.join(models, 'lexicon-two'));
  await dialog.getByLabel('Name').fill('second');
  await assertAccessible(page, 'the dialog of another model');
  await dialog.getByRole('button', { name: 'Load' }).click();
  await page.getByText('The model is loaded.').waitFor();
  await assertAccessible(page, 'two models');

  await page.getByRole('link', { name: 'Edit' }).click();
  const chooser = page.getByRole('combobox', { name: 'Model', exact: true });
  await chooser.waitFor();
  assert.deepEqual(await chooser.getByRole('option').allTextContents(), ['lexicon', 'second']);
  await chooser.selectOption('second');
  await page.getByRole('button', { name: 'Find', exact: true }).click();
  await page.getByRole('button', { name: /^Add 32 rows/ }).click();
  await page.getByLabel('Text to copy from').fill('The capital of France is');
  await page.getByRole('button', { name: 'Copy', exact: true }).click();
  await page.getByText('32 rows change', { exact: true }).waitFor();
  // The change is this model's: the other one's page has none.
  await chooser.selectOption('lexicon');
  await page.getByText('No row picked yet.', { exact: false }).waitFor();
  await chooser.selectOption('second');
  await page.getByText('32 rows change', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Commit …' }).click();
  await dialog.getByRole('button', { name: 'Commit' }).click();
  await page.getByText('Version 1 is live: 32 rows.').waitFor();
  await page.show('operate?tab=events');
  await page.getByTestId('events').getByText('commit second: v1 · 32 rows').waitFor();
  assert.equal(await answer('second'), ' Paris.');
  assert.equal(await answer('lexicon'), ' Ulaanbaatar.');
  await page.getByRole('link', { name: 'Microscope' }).click();
  await page.getByTestId('with-memory').filter({ hasText: 'Paris.' }).waitFor();
  await page.getByRole('combobox', { name: 'Model', exact: true }).selectOption('lexicon');
  await page.getByTestId('with-memory').filter({ hasText: 'Ulaanbaatar.' }).waitFor();
  await page.getByRole('link', { name: 'Playground' }).click();
  await page.getByRole('combobox', { name: 'Model', exact: true }).selectOption('second');
  assert.match(await page.getByTestId('code').textContent(), /"model": "second"/);

  await page.getByRole('link', { name: 'Operate' }).click();
  await page.getByRole('button', { name: 'Unload …' }).click();
  await dialog.getByText('New requests for it are refused from now on.', { exact: false }).waitFor();
  // The page learns that the model it had chosen is gone, and still says what was done.
  assert.equal(await page.evaluate(() => sessionStorage.getItem('engramd.model')), 'second');
  await dialog.getByRole('button', { name: 'Unload' }).click();
  await page.waitForFunction(() => sessionStorage.getItem('engramd.model') === null);
  await page.getByText('The model is unloaded.').waitFor();
  await page.getByRole('link', { name: 'Playground' }).click();
  await page.getByRole('button', { name: 'Generate' }).waitFor();
  assert.equal(await page.getByRole('combobox', { name: 'Model', exact: true }).count(), 0);
  assert.match(await page.getByTestId('code').textContent(), /"model": "lexicon"/);
  await page.done();
});

test('a load is cancelled while it runs: asked first, and nothing is loaded', async () => {
  // Its digest takes long enough to be met, whatever the machine: the file is sparse.
  const big = path.join(models, 'big');
  fs.cpSync(model, big, { recursive: true });
  fs.writeFileSync(path.join(big, 'notes.bin'), '');
  fs.truncateSync(path.join(big, 'notes.bin'), 40e9);
  const { status, json, text } = await daemon.post('/admin/v1/models/load', { model: big, name: 'big', sha256: '0'.repeat(64) });
  assert.equal(status, 202, text);
  const page = await openPage(browser, daemon.url);
  // It is shown where people edit, too.
  for (const place of ['memory', 'edit', 'operate']) {
    await page.show(place);
    await page.getByRole('progressbar', { name: 'load model big' }).waitFor();
    await assertAccessible(page, `a running operation on ${place}`);
  }
  const operation = page.getByTestId('operations').getByRole('listitem').filter({ hasText: 'load model big' });
  await operation.getByRole('button', { name: /^Cancel/ }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('what it did so far is thrown away', { exact: false }).waitFor();
  await assertAccessible(page, 'the question before cancelling');
  await dialog.getByRole('button', { name: 'Let it run' }).click();
  assert.equal((await daemon.get(`/admin/v1/operations/${json.operation}`)).json.state, 'running');
  await operation.getByRole('button', { name: /^Cancel/ }).click();
  await dialog.getByRole('button', { name: 'Cancel it' }).click();
  await operation.getByText('cancelled', { exact: true }).waitFor();
  assert.equal((await daemon.get('/admin/v1/models')).json.models.length, 1);
  await page.done();
});

test('the effective configuration, filtered', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('operate');
  await page.getByRole('tab', { name: 'Configuration' }).click();
  const table = page.getByTestId('config');
  await table.getByText('server.listen', { exact: true }).waitFor();
  await page.getByRole('searchbox').fill('max_queued');
  await table.getByText('server.listen', { exact: true }).waitFor({ state: 'detached' });
  await table.getByText('serving.max_queued').waitFor();
  await page.done();
});
