// SPDX-License-Identifier: Apache-2.0
// API keys made and revoked in the dashboard, what they may then do, and what the audit log says of it.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { assertAccessible, launch, openPage, startDaemon } from './support.mjs';

const boss = 'key-of-the-boss';
const viewer = 'key-of-the-viewer';
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
let daemon;
let browser;
before(async () => {
  daemon = await startDaemon({
    config: `auth:
  keys:
    - {name: boss, sha256: ${sha256(boss)}, scopes: [generate, read, edit, operate]}
    - {name: viewer, sha256: ${sha256(viewer)}, scopes: [read]}
`,
  });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

const as = (key) => ({ authorization: `Bearer ${key}` });
const generate = (key) => daemon.post('/v1/completions', { prompt: 'The capital of Mongolia is', max_tokens: 8, temperature: 0 }, as(key));

async function operate(tab, key = boss) {
  const page = await openPage(browser, daemon.url, { key });
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: daemon.url });
  await page.show(`operate?tab=${tab}`);
  return page;
}
const keyOf = (page, name) => page.getByTestId('keys').getByRole('listitem').filter({ has: page.getByText(name, { exact: true }) });

async function create(page, name, { scopes = [] } = {}) {
  await page.getByRole('button', { name: 'New key …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name', { exact: true }).fill(name);
  for (const scope of scopes) await dialog.getByRole('checkbox', { name: new RegExp(`^${scope}`) }).check();
  await dialog.getByRole('button', { name: 'Create' }).click();
  await dialog.waitFor({ state: 'detached' });
  return page.getByTestId('new-key').getByLabel('Key', { exact: true }).inputValue();
}

test('a key is made, shown once, works, and ends when it is revoked', async () => {
  const page = await operate('keys');
  await keyOf(page, 'boss').getByText('configuration file').waitFor();
  assert.equal(await keyOf(page, 'boss').getByRole('button', { name: /^Revoke/ }).count(), 0, 'keys of the file end in the file');
  await page.getByRole('button', { name: 'New key …' }).click();
  await assertAccessible(page, 'the dialog of a new key');
  await page.keyboard.press('Escape');

  const made = await create(page, 'search team');
  await page.getByText('This is the only time it is shown.', { exact: false }).waitFor();
  await assertAccessible(page, 'a new key');
  await page.getByTestId('new-key').getByRole('button', { name: 'Copy' }).click();
  await page.getByText('Copied.').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), made);
  assert.equal((await generate(made)).json.choices[0].text, ' Ulaanbaatar.');
  assert.equal((await daemon.get('/admin/v1/status', as(made))).status, 403, 'it has the scope generate only');
  const stored = await page.evaluate(() => JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + location.href);
  assert.ok(!stored.includes(made), 'the key is kept nowhere');
  await page.getByRole('button', { name: 'I have it' }).click();
  assert.ok(!(await page.content()).includes(made), 'and is gone from the page');
  await page.reload();
  await keyOf(page, 'search team').getByText('generate', { exact: true }).waitFor();
  assert.ok(!(await page.content()).includes(made));

  await keyOf(page, 'search team').getByRole('button', { name: 'Revoke …: search team' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('refused from now on', { exact: false }).waitFor();
  await assertAccessible(page, 'the question before revoking');
  await page.keyboard.press('Escape');
  assert.equal((await generate(made)).status, 200, 'Escape is no');
  await keyOf(page, 'search team').getByRole('button', { name: 'Revoke …: search team' }).click();
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('The key of “search team” is revoked.').waitFor();
  assert.equal((await generate(made)).status, 401);
  await keyOf(page, 'search team').waitFor({ state: 'detached' });
  await page.getByLabel('Show expired and revoked keys').check();
  await keyOf(page, 'search team').getByText('revoked', { exact: true }).first().waitFor();
  await assertAccessible(page, 'revoked keys');
  await page.done();
});

test('limits, lifetime, scopes and overlays of a new key are what was asked for', async () => {
  const page = await operate('keys');
  await daemon.call('PUT', '/admin/v1/overlays/tenant', { entries: [{ layer: 1, row: 7, values: Array(32).fill(0.5) }] }, as(boss));
  await page.getByRole('button', { name: 'New key …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name', { exact: true }).fill('batch');
  await dialog.getByRole('checkbox', { name: /^read/ }).check();
  await dialog.getByLabel('Ends by itself').selectOption({ label: 'after 30 days' });
  await dialog.getByLabel('Requests a second').fill('20');
  await dialog.getByLabel('Tokens a second').fill('4000');
  await dialog.getByLabel('Overlays', { exact: true }).fill('tenant');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await page.getByTestId('new-key').waitFor();
  const entry = keyOf(page, 'batch');
  await entry.getByText('20 requests/s · 4,000 tokens/s').waitFor();
  await entry.getByText('tenant', { exact: true }).waitFor();
  assert.deepEqual(await entry.locator('.badge').allTextContents(), ['generate', 'read']);
  const { json } = await daemon.get('/admin/v1/keys', as(boss));
  const key = json.keys.find(({ name }) => name === 'batch');
  assert.deepEqual(key.scopes, ['generate', 'read']);
  assert.deepEqual(key.overlays, ['tenant']);
  assert.notEqual(key.expires_at, null);
  // The overlay says whose it is.
  await page.show('edit?tab=overlays');
  await page.getByTestId('overlays').getByText('batch').waitFor();
  await assertAccessible(page, 'an overlay with a key');
  await page.getByRole('button', { name: 'Look inside: tenant' }).click();
  await page.getByTestId('overlays').getByText('Layer 1 · 7').waitFor();
  await page.getByRole('button', { name: 'Delete: tenant' }).click();
  await page.getByRole('dialog').getByText('Requests of these keys have it attached: batch').waitFor();
  await page.keyboard.press('Escape');
  await page.done();
});

test('a name that is taken is refused in the server\'s words, and the dialog stays', async () => {
  const page = await operate('keys');
  await page.getByRole('button', { name: 'New key …' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name', { exact: true }).fill('boss');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await dialog.getByRole('alert').waitFor();
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await page.done();
});

test('the audit log: what was done, by whom, filtered and page by page', async () => {
  for (let made = 0; made < 60; ++made) {
    const { status } = await daemon.call('PUT', `/admin/v1/overlays/many-${made}`, { entries: [{ layer: 1, row: made, values: Array(32).fill(0.5) }] }, as(boss));
    assert.equal(status, 201);
  }
  const page = await operate('audit');
  await page.reload();
  const rows = page.getByTestId('audit').locator('tbody tr');
  await page.getByTestId('audit').getByRole('row').filter({ hasText: 'many-59' }).getByText('boss').waitFor();
  const { json: log } = await daemon.get('/admin/v1/audit?limit=1000', as(boss));
  const after = log.entries.filter(({ id }) => id > log.entries.find(({ target }) => target === 'many-59').id);
  assert.deepEqual(after, [], 'a tab that opens changes nothing, and nothing is logged of it');
  await assertAccessible(page, 'the audit log');
  const first = await rows.count();
  await page.getByRole('button', { name: 'Older entries' }).click();
  await rows.nth(first).waitFor();
  const { json } = await daemon.get('/admin/v1/audit?limit=1', as(boss));
  const { action } = json.entries[0];
  await page.getByPlaceholder('Action').fill('no.such.action');
  await page.getByRole('button', { name: 'Show', exact: true }).click();
  await page.getByText('No entry fits.').waitFor();
  await page.getByPlaceholder('Action').fill(action);
  await page.getByRole('button', { name: 'Show', exact: true }).click();
  await rows.first().getByText(action, { exact: true }).waitFor();
  assert.deepEqual([...new Set(await rows.locator('td:nth-child(3)').allTextContents())], [action]);
  await page.done();
});

test('a key that is revoked elsewhere leads back to the sign-in', async () => {
  const { json } = await daemon.post('/admin/v1/keys', { name: 'short', scopes: ['generate', 'read'] }, as(boss));
  const page = await openPage(browser, daemon.url, { key: json.key });
  await page.show('memory');
  await page.getByRole('heading', { name: 'dram' }).waitFor();
  assert.equal((await daemon.call('DELETE', `/admin/v1/keys/${json.id}`, undefined, as(boss))).status, 200);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.done();
});

test('who may not manage keys does not even see them', async () => {
  const page = await openPage(browser, daemon.url, { key: viewer });
  await page.show('operate?tab=keys');
  await page.getByRole('heading', { name: 'Plugins' }).waitFor();
  assert.deepEqual(await page.getByRole('tab').allTextContents(), ['Models & plugins', 'Configuration', 'Events']);
  await page.done();
});

test('the first key of an open daemon: warned of, and the page goes on with it', async () => {
  const open = await startDaemon();
  try {
    const page = await openPage(browser, open.url);
    await page.show('operate?tab=keys');
    await page.getByText('No keys are configured', { exact: false }).waitFor();
    await assertAccessible(page, 'no keys');
    await page.getByRole('button', { name: 'New key …' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('from now on nobody gets in without one', { exact: false }).waitFor();
    assert.ok(await dialog.getByRole('checkbox', { name: /^operate/ }).isDisabled());
    await dialog.getByLabel('Name', { exact: true }).fill('first');
    await dialog.getByRole('button', { name: 'Create' }).click();
    const made = await page.getByTestId('new-key').getByLabel('Key', { exact: true }).inputValue();
    await page.getByText('You are signed in with it now.').waitFor();
    await keyOf(page, 'first').waitFor();
    assert.equal((await open.get('/admin/v1/status')).status, 401);
    assert.equal((await open.get('/admin/v1/status', as(made))).status, 200);
    await page.getByRole('link', { name: 'Memory' }).click();
    await page.getByRole('heading', { name: 'dram' }).waitFor();
    // The last key with "operate" cannot be taken away.
    await page.show('operate?tab=keys');
    await keyOf(page, 'first').getByRole('button', { name: 'Revoke …: first' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await page.getByRole('dialog').getByRole('alert').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await page.done();
  } finally {
    await open.stop();
  }
});
