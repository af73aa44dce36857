// SPDX-License-Identifier: Apache-2.0
// Makes the pictures in docs/images anew: every page, light and dark, desktop and phone width, of a daemon of its own that
// has tables on disk behind a cache, keys, overlays and a history.   node screenshots.mjs;  PAGES=memory,keys: these alone.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { engramctl } from '../e2e/daemon.mjs';
import { launch, model, openPage, root, startDaemon } from './support.mjs';

const images = path.join(root, 'docs/images');
const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-'));
const boss = 'key-of-the-boss';
const layers = [1, 2];
const table = (layer) => path.join(dir, `layer-${layer}.ngt`);
for (const layer of layers) execFileSync(engramctl, ['table', 'pack', '--model', model, '--layer', `${layer}`, '--out', table(layer)]);
const daemon = await startDaemon({
  config: `auth:
  keys:
    - {name: boss, sha256: ${createHash('sha256').update(boss).digest('hex')}, scopes: [generate, read, edit, operate]}
memory:
  tiers:
    - {name: near, plugin: tier_dram, options: {mode: cache}, capacity: 4MiB}
    - {name: disk, plugin: tier_file}
  tables: {${layers.map((layer) => `${layer}: ${table(layer)}`).join(', ')}}
`,
});
const { url } = daemon;
const browser = await launch();
fs.mkdirSync(images, { recursive: true });

async function ask(method, route, body) {
  const response = await fetch(url + route, { method, headers: { authorization: `Bearer ${boss}` }, body: body && JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${route}: ${response.status} ${text}`);
  return JSON.parse(text);
}
const rowsOf = async (ids) => (await ask('GET', `/admin/v1/rows?layer=1&ids=${ids}`)).rows;

// ---- Something to show
await ask('PUT', '/admin/v1/overlays/tenant-a', { entries: (await rowsOf('7,8,9')).map(({ row, values }) => ({ layer: 1, row, values: values.map((value) => value * 0.5) })) });
await ask('PUT', '/admin/v1/overlays/trial-of-may', { entries: (await rowsOf('21')).map(({ row, values }) => ({ layer: 1, row, values })), ttl_s: 86400 * 9 });
await ask('POST', '/admin/v1/keys', { name: 'search team', scopes: ['generate'], overlays: ['tenant-a'], limits: { requests_per_second: 20, tokens_per_second: 4000 }, expires_in: 86400 * 90 });
await ask('POST', '/admin/v1/keys', { name: 'dashboards', scopes: ['read'] });
await ask('POST', '/admin/v1/keys', { name: 'night batch', scopes: ['generate', 'edit'], limits: { tokens_per_second: 500 } });
for (const [note, ids] of [['Spelling of three cities', '101,102,103'], ['New codes', '204,205'], ['Quieter rows', '31,32,33,34']]) {
  await ask('POST', '/admin/v1/commits', { note, author: 'Ada', edits: (await rowsOf(ids)).map(({ row, values }) => ({ layer: 1, row, values: values.map((value) => value * 0.8) })) });
}
await ask('POST', '/admin/v1/rollback', { to: 2, note: 'The quieter rows were too quiet' });

let traffic = true;
const countries = ['Mongolia', 'France', 'Italy', 'Peru', 'Kenya', 'Canada', 'Norway', 'Cuba', 'India', 'Chad', 'Spain', 'Egypt'];
const load = (async () => {
  for (let turn = 0; traffic; ++turn) {
    // Some countries are asked for more often than others, and there are pauses.
    const country = countries[Math.floor((turn * 0.618) ** 2) % (1 + (turn % countries.length))];
    await ask('POST', '/v1/completions', { prompt: `The capital of ${country} is`, max_tokens: 8 + (turn % 40), ignore_eos: true });
    await new Promise((resolve) => setTimeout(resolve, 40 + 60 * (1 + Math.sin(turn / 9))));
  }
})();

// What is done before a picture is taken; `at` is the page's address where it is not its name, `key: null` comes without.
const pages = {
  'sign-in': { at: 'overview', key: null, ready: (page) => page.getByLabel('API key').fill('a secret of some length') },
  overview: { ready: (page) => page.waitForTimeout(45_000) },
  memory: { ready: (page) => page.waitForTimeout(6_000) },
  microscope: {
    ready: async (page) => {
      await page.getByTestId('lens').waitFor();
      await page.waitForTimeout(500);
    },
  },
  edit: {
    ready: async (page) => {
      await page.getByRole('button', { name: 'Find', exact: true }).click();
      await page.getByRole('button', { name: /^Add 32 rows/ }).click();
      await page.getByLabel('Text to copy from').fill('The capital of France is');
      await page.getByRole('button', { name: 'Copy', exact: true }).click();
      await page.getByText('32 rows change', { exact: true }).waitFor();
      await page.getByRole('button', { name: 'Compare' }).click();
      await page.getByTestId('versus').waitFor();
      await page.getByRole('button', { name: 'Plan', exact: true }).click();
      await page.getByTestId('plan').waitFor();
      await page.evaluate(() => scrollTo(0, 0));
    },
  },
  history: {
    at: 'edit?tab=history',
    ready: async (page) => {
      await page.getByRole('button', { name: 'Diff' }).first().click();
      await page.getByTestId('history').getByRole('img').first().waitFor();
    },
  },
  operate: { ready: (page) => page.waitForTimeout(1500) },
  keys: { at: 'operate?tab=keys', ready: (page) => page.getByTestId('keys').waitFor() },
  audit: { at: 'operate?tab=audit', ready: (page) => page.getByTestId('audit').waitFor() },
  playground: {
    ready: async (page) => {
      await page.getByLabel('Temperature').fill('0');
      await page.getByRole('button', { name: 'Generate' }).click();
      await page.getByTestId('finish').waitFor();
    },
  },
};
const wanted = process.env.PAGES?.split(',') ?? Object.keys(pages);
for (const name of wanted) {
  const { at = name, key = boss, ready } = pages[name];
  await Promise.all(
    ['light', 'dark'].flatMap((theme) =>
      [['desktop', 1360, 900], ['phone', 390, 844]].map(async ([device, width, height]) => {
        const page = await openPage(browser, url, { theme, width, height, key, scopes: key && ['generate', 'read', 'edit', 'operate'] });
        await page.show(at);
        await ready(page);
        // A third of the PNG's size.
        const session = await page.context().newCDPSession(page);
        const { data } = await session.send('Page.captureScreenshot', { format: 'webp', quality: 82 });
        fs.writeFileSync(path.join(images, `${name}-${theme}-${device}.webp`), Buffer.from(data, 'base64'));
        await page.done();
      }),
    ),
  );
  console.log(name);
}
traffic = false;
await load;
await browser.close();
await daemon.stop();
fs.rmSync(dir, { recursive: true, force: true });
