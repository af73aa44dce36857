// SPDX-License-Identifier: Apache-2.0
// The memory page: which rows are read, and the work on the tables.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { assertAccessible, launch, openPage, startDaemon } from './support.mjs';

let daemon;
let browser;
before(async () => {
  daemon = await startDaemon();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

test('before anything was read the page says so', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('memory');
  await page.getByText('No row was read since the start.').first().waitFor();
  await assertAccessible(page, 'nothing read');
  await page.done();
});

test('counting of gates that is paused is told of', async () => {
  await daemon.post('/admin/v1/gates/pause', {});
  const page = await openPage(browser, daemon.url);
  await page.show('memory');
  const notice = page.getByText('Counting is paused', { exact: false });
  await notice.waitFor();
  await assertAccessible(page, 'paused');
  await daemon.post('/admin/v1/gates/resume', {});
  await notice.waitFor({ state: 'detached', timeout: 20_000 });
  await page.done();
});

test('heat map and hot set are those of the API', async () => {
  for (const country of ['Mongolia', 'France', 'Peru', 'Kenya', 'Mongolia', 'Mongolia']) {
    await daemon.post('/v1/completions', { prompt: `The capital of ${country} is`, max_tokens: 32, ignore_eos: true });
  }
  const page = await openPage(browser, daemon.url);
  await page.show('memory');
  const maps = page.getByTestId('heat');
  await maps.nth(1).waitFor();
  assert.equal(await maps.count(), 2);
  const { json } = await daemon.get('/admin/v1/tiers/heat?layer=1');
  const total = json.ranges.reduce((sum, { reads }) => sum + reads, 0);
  assert.ok(total > 0);
  // The arrow keys walk over the ranges, and each tells its numbers.
  const strip = page.getByRole('slider').first();
  await strip.focus();
  await page.keyboard.press('End');
  const last = json.ranges.at(-1);
  const said = await strip.getAttribute('aria-valuetext');
  assert.ok(said.includes(last.first_row.toLocaleString('en-US')), said);
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  assert.ok((await strip.getAttribute('aria-valuetext')).includes(json.ranges[1].first_row.toLocaleString('en-US')));
  // The pointer does the same.
  const box = await strip.boundingBox();
  await page.mouse.move(box.x + box.width / 2 + 1, box.y + 5);
  await maps.first().getByText(`Rows ${json.ranges[128].first_row.toLocaleString('en-US')} to`, { exact: false }).waitFor();
  const curve = page.getByTestId('hot-set');
  await curve.getByText('of the rows take', { exact: false }).first().waitFor();
  await assertAccessible(page, 'heat map and curve');
  await page.setViewportSize({ width: 390, height: 844 });
  await assertAccessible(page, 'heat map and curve, phone');
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0);
  await page.done();
});

test('compaction: asked first, followed to its end, and nothing answers otherwise', async () => {
  const answer = async () => (await daemon.post('/v1/completions', { prompt: 'The capital of Mongolia is', max_tokens: 8, temperature: 0 })).json.choices[0].text;
  const page = await openPage(browser, daemon.url);
  await page.show('memory');
  await page.getByText('There are no edits to fold into the base tables.').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Compact …' }).isDisabled());
  const { json: rows } = await daemon.get('/admin/v1/rows?layer=1&ids=7');
  const commit = await daemon.post('/admin/v1/commits', { edits: [{ layer: 1, row: 7, values: rows.rows[0].values.map((value) => value + 1) }] });
  assert.equal(commit.status, 201, commit.text);
  const before = await answer();
  await page.getByRole('button', { name: 'Compact …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('New packed tables are written', { exact: false }).waitFor();
  await assertAccessible(page, 'the question before compaction');
  await dialog.getByRole('button', { name: 'Compact' }).click();
  const job = page.getByTestId('jobs').getByRole('listitem').filter({ hasText: 'compaction' });
  await job.getByText('succeeded').waitFor();
  await page.getByText('There are no edits to fold into the base tables.').waitFor();
  assert.equal(await answer(), before);
  await page.done();
});

test('a backup goes into a directory of its own', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('memory');
  await page.getByRole('button', { name: 'Back up …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('New directory').fill('from-the-dashboard');
  await dialog.getByRole('button', { name: 'Back up' }).click();
  await page.getByTestId('jobs').getByRole('listitem').filter({ hasText: 'backup' }).getByText('succeeded').waitFor();
  // The same name again: refused, and said in the dialog or as the operation's end.
  await page.getByRole('button', { name: 'Back up …' }).click();
  await dialog.getByLabel('New directory').fill('from-the-dashboard');
  await dialog.getByRole('button', { name: 'Back up' }).click();
  await page.getByRole('alert').or(page.getByTestId('jobs').getByText('failed')).first().waitFor();
  await page.done();
});
