// SPDX-License-Identifier: Apache-2.0
// Keys and what they may do; a connection that goes and comes back; a tab left open.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { assertAccessible, launch, Link, openPage, startDaemon } from './support.mjs';

const keys = { writer: 'key-of-the-writer', viewer: 'key-of-the-viewer', boss: 'key-of-the-boss' };
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const config = `auth:
  keys:
    - {name: writer, sha256: ${sha256(keys.writer)}, scopes: [generate]}
    - {name: viewer, sha256: ${sha256(keys.viewer)}, scopes: [read]}
    - {name: boss, sha256: ${sha256(keys.boss)}, scopes: [generate, read, edit, operate]}
`;

let guarded;
let browser;
before(async () => {
  guarded = await startDaemon({ config });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await guarded?.stop();
});

for (const theme of ['light', 'dark']) {
  test(`sign-in, ${theme}: a wrong key is refused, the right one opens, and it is kept in this tab only`, async () => {
    const page = await openPage(browser, guarded.url, { theme });
    await page.goto(`${guarded.url}/ui/`);
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await assertAccessible(page, `sign-in ${theme}`);
    await page.getByLabel('API key').fill('wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('The server does not know this key.').waitFor();
    await assertAccessible(page, `sign-in refused ${theme}`);
    await page.getByLabel('API key').fill(keys.boss);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    const stored = await page.evaluate(() => ({ local: JSON.stringify(localStorage), session: JSON.stringify(sessionStorage), cookie: document.cookie, address: location.href }));
    assert.ok(stored.session.includes(keys.boss));
    for (const place of [stored.local, stored.cookie, stored.address]) assert.ok(!place.includes(keys.boss));
    await page.reload();
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    assert.ok(!(await page.evaluate(() => JSON.stringify(sessionStorage))).includes(keys.boss));
    await page.done();
  });
}

const pagesOf = (page) => page.getByRole('navigation').getByRole('link').allTextContents();

test('a key sees the pages it may use; the WebSocket takes it, too', async () => {
  const page = await openPage(browser, guarded.url, { key: keys.writer });
  await page.goto(`${guarded.url}/ui/`);
  await page.getByRole('heading', { level: 1, name: 'Microscope' }).waitFor();
  assert.deepEqual((await pagesOf(page)).map((name) => name.trim()), ['Microscope', 'Playground']);
  await page.getByRole('link', { name: 'Playground' }).click();
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByTestId('finish').waitFor();
  assert.equal(await page.getByTestId('transport').textContent(), 'WebSocket');
  await page.done();
});

test('who may only read finds no way to change anything', async () => {
  const page = await openPage(browser, guarded.url, { key: keys.viewer });
  await page.goto(`${guarded.url}/ui/#/edit`);
  await page.getByRole('heading', { level: 1, name: 'Edit' }).waitFor();
  assert.equal(await page.getByRole('tab', { name: 'The change' }).count(), 0);
  assert.equal(await page.getByRole('button', { name: 'Roll back to here' }).count(), 0);
  await page.getByRole('link', { name: 'Operate' }).click();
  await page.getByRole('heading', { name: 'Plugins' }).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Swap …' }).count(), 0);
  assert.deepEqual((await pagesOf(page)).map((name) => name.trim()), ['Overview', 'Memory', 'Edit', 'Operate']);
  await page.done();
});

test('the connection goes and comes back', async () => {
  const daemon = await startDaemon();
  const link = await Link.to(daemon.port);
  try {
    const page = await openPage(browser, link.url);
    await page.show('operate');
    await page.getByTestId('model-state').waitFor();
    await link.cut();
    await page.getByText('The daemon does not answer.', { exact: false }).waitFor();
    await page.getByTestId('state').filter({ hasText: 'No connection' }).waitFor();
    await assertAccessible(page, 'without a connection');
    // What was there stays readable.
    await page.getByTestId('model-state').waitFor();
    await link.mend();
    await page.getByTestId('state').filter({ hasText: 'Ready' }).waitFor();
    await page.getByText('The daemon does not answer.', { exact: false }).waitFor({ state: 'detached' });
    await page.done();
  } finally {
    await link.cut();
    await daemon.stop();
  }
});

test('left open under load it asks little and does not grow', async () => {
  const daemon = await startDaemon();
  try {
    const page = await openPage(browser, daemon.url);
    // An hour of readings in little time: the page's clock runs, its timers fire at once.
    await page.clock.install();
    await page.show('overview');
    await page.getByTestId('tiles').getByText('lexicon').waitFor();
    const session = await page.context().newCDPSession(page);
    const heap = async () => {
      await session.send('HeapProfiler.collectGarbage');
      return (await session.send('Runtime.getHeapUsage')).usedSize;
    };
    let asked = 0;
    page.on('request', () => (asked += 1));
    const run = async (readings) => {
      for (let done = 0; done < readings; ++done) {
        const answered = page.waitForResponse((response) => response.url().endsWith('/metrics'));
        await page.clock.runFor(2100);
        await answered;
      }
    };
    await run(60);
    const early = await heap();
    asked = 0;
    await run(240);
    const late = await heap();
    // Series of an hour are 14 columns of 1800 numbers; 240 more readings are 27 KB.
    console.log(`heap after 2 minutes ${(early / 1e6).toFixed(1)} MB, after 10 ${(late / 1e6).toFixed(1)} MB; ${(asked / 240).toFixed(2)} requests a reading`);
    assert.ok(late < early + 2e6, `${early} -> ${late}`);
    assert.ok(asked / 240 < 3, `${asked} requests`);
    await page.done();
  } finally {
    await daemon.stop();
  }
});
