// SPDX-License-Identifier: Apache-2.0
// Every page, in both themes and at both widths: it opens without an error, asks nobody else, is accessible, and speaks
// both languages.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { assertAccessible, launch, openPage, root, startDaemon } from './support.mjs';

let daemon;
let browser;
before(async () => {
  daemon = await startDaemon();
  browser = await launch();
  await daemon.post('/v1/completions', { prompt: 'The capital of Mongolia is', max_tokens: 8 });
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

// What a page shows once it has its data.
const pages = {
  overview: (page) => page.getByTestId('tiles').getByText('lexicon').waitFor(),
  memory: (page) => page.getByRole('heading', { name: 'dram' }).waitFor(),
  microscope: (page) => page.getByTestId('without-memory').filter({ hasNotText: '…' }).waitFor(),
  edit: (page) => page.getByRole('tab', { name: 'History' }).waitFor(),
  operate: (page) => page.getByRole('heading', { name: 'Plugins' }).waitFor(),
  playground: (page) => page.getByRole('button', { name: 'Generate' }).waitFor(),
};

for (const theme of ['light', 'dark']) {
  for (const [name, loaded] of Object.entries(pages)) {
    test(`${name}, ${theme}: accessible, no error, nobody else asked`, async () => {
      const page = await openPage(browser, daemon.url, { theme });
      await page.show(name);
      await loaded(page);
      await assertAccessible(page, `${name} ${theme}`);
      await page.setViewportSize({ width: 390, height: 844 });
      await assertAccessible(page, `${name} ${theme} phone`);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `the page is ${overflow} pixels wider than the phone`);
      await page.done();
    });
  }
}

test('the tabs inside of pages are accessible, too', async () => {
  const page = await openPage(browser, daemon.url);
  for (const [name, tabs] of Object.entries({ edit: ['History', 'Overlays'], operate: ['Keys', 'Configuration', 'Audit log', 'Events'], playground: ['Chat'] })) {
    await page.show(name);
    for (const tab of tabs) {
      await page.getByRole('tab', { name: tab, exact: true }).click();
      await assertAccessible(page, `${name} ${tab}`);
    }
  }
  await page.done();
});

test('Chinese: by the browser, and by choice', async () => {
  const page = await openPage(browser, daemon.url, { language: 'zh-CN' });
  await page.show('overview');
  await page.getByRole('heading', { level: 1, name: '概览' }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'zh-Hans');
  for (const [name, heading] of Object.entries({ memory: '记忆', microscope: '显微镜', edit: '编辑', operate: '运维', playground: '试验场' })) {
    await page.getByRole('link', { name: heading, exact: true }).click();
    await page.getByRole('heading', { level: 1, name: heading }).waitFor();
    await assertAccessible(page, `${name} in Chinese`);
  }
  await page.getByLabel('语言').selectOption('en');
  await page.getByRole('heading', { level: 1, name: 'Playground' }).waitFor();
  await page.reload();
  await page.getByRole('heading', { level: 1, name: 'Playground' }).waitFor();
  await page.done();
});

test('the theme is the system\'s until one is chosen', async () => {
  const page = await openPage(browser, daemon.url, { theme: 'dark' });
  await page.show('overview');
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await background();
  await page.getByRole('button', { name: 'Light theme' }).click();
  const light = await background();
  assert.notEqual(light, dark);
  await page.reload();
  await page.getByRole('heading', { level: 1 }).waitFor();
  assert.equal(await background(), light);
  await page.done();
});

test('the keyboard alone reaches every page', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('overview');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'page-title');
  for (const name of ['Memory', 'Microscope', 'Edit', 'Operate', 'Playground']) {
    await page.getByRole('link', { name, exact: true }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name }).waitFor();
  }
  await page.done();
});

test('live numbers move with traffic', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('overview');
  const stop = new AbortController();
  const traffic = (async () => {
    while (!stop.signal.aborted) await daemon.post('/v1/completions', { prompt: 'The capital of Mongolia is', max_tokens: 64, ignore_eos: true });
  })();
  await page.waitForFunction(() => {
    const tile = [...document.querySelectorAll('.tile')].find((one) => one.textContent.includes('Tokens per second'));
    return Number(tile?.querySelector('b').textContent.replace(/,/g, '')) > 0;
  });
  stop.abort();
  await traffic;
  await page.done();
});

test('the policy forbids inline code, and the first paint is quick', async () => {
  const { headers } = await daemon.get('/ui/');
  const policy = headers.get('content-security-policy');
  assert.match(policy, /default-src 'self'/);
  assert.doesNotMatch(policy, /unsafe/);
  const page = await openPage(browser, daemon.url);
  await page.show('overview');
  const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0].startTime);
  console.log(`first contentful paint: ${Math.round(paint)} ms`);
  await page.done();
});

test('all of the JavaScript is under 200 KiB, gzipped', () => {
  const assets = path.join(root, 'web/dist/assets');
  const scripts = fs.readdirSync(assets).filter((file) => file.endsWith('.js'));
  assert.ok(scripts.length > 0);
  const size = scripts.reduce((sum, file) => sum + zlib.gzipSync(fs.readFileSync(path.join(assets, file)), { level: 9 }).length, 0);
  console.log(`JavaScript: ${(size / 1024).toFixed(1)} KiB gzipped`);
  assert.ok(size < 200 * 1024, `${size} bytes`);
});
