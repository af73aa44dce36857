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
      const { status, json } = await daemon.post('/v1/completions', { prompt: 'The capital of Japan is', max_tokens: 16, temperature: 0 });
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
    await page.getByRole('tab', { name: 'Events' }).click();
    await page.getByTestId('events').getByText('succeeded').waitFor();
  } finally {
    stop.abort();
    await Promise.all(load);
  }
  assert.ok(statuses.length > 0);
  assert.deepEqual([...new Set(statuses.map((one) => JSON.stringify(one)))], ['[200," Tokyo."]']);
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
