// SPDX-License-Identifier: Apache-2.0
// Makes the pictures in docs/images anew: every page, light and dark, desktop and phone width.
//   node screenshots.mjs [URL]: of a daemon that runs there, else of one of its own.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { launch, openPage, root, startDaemon } from './support.mjs';

const images = path.join(root, 'docs/images');
const given = process.argv[2];
const daemon = given ? null : await startDaemon();
const url = given ?? daemon.url;
const browser = await launch();
fs.mkdirSync(images, { recursive: true });

const post = async (route, body) => (await fetch(url + route, { method: 'POST', body: JSON.stringify(body) })).text();
let traffic = true;
const countries = ['Japan', 'France', 'Italy', 'Peru', 'Kenya', 'Canada', 'Norway', 'Cuba', 'India', 'Chad', 'Spain', 'Egypt'];
const load = (async () => {
  for (let turn = 0; traffic; ++turn) {
    // Some countries are asked for more often than others, and there are pauses.
    const country = countries[Math.floor((turn * 0.618) ** 2) % (1 + (turn % countries.length))];
    await post('/v1/completions', { prompt: `The capital of ${country} is`, max_tokens: 8 + (turn % 40), ignore_eos: true });
    await new Promise((resolve) => setTimeout(resolve, 40 + 60 * (1 + Math.sin(turn / 9))));
  }
})();

const pages = {
  overview: (page) => page.waitForTimeout(45_000),
  memory: (page) => page.waitForTimeout(6_000),
  microscope: async (page) => {
    await page.getByTestId('lens').waitFor();
    await page.waitForTimeout(500);
  },
  edit: async (page) => {
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
  operate: (page) => page.waitForTimeout(1500),
  playground: async (page) => {
    await page.getByLabel('Temperature').fill('0');
    await page.getByRole('button', { name: 'Generate' }).click();
    await page.getByTestId('finish').waitFor();
  },
};
const wanted = process.env.PAGES?.split(',') ?? Object.keys(pages);
for (const name of wanted) {
  await Promise.all(
    ['light', 'dark'].flatMap((theme) =>
      [['desktop', 1360, 900], ['phone', 390, 844]].map(async ([device, width, height]) => {
        const page = await openPage(browser, url, { theme, width, height });
        await page.show(name);
        await pages[name](page);
        const file = path.join(images, `${name}-${theme}-${device}`);
        await page.screenshot({ path: `${file}.png` });
        await page.done();
        // A third of the PNG's size. cwebp is in Debian's package webp.
        execFileSync('cwebp', ['-quiet', '-q', '82', '-m', '6', `${file}.png`, '-o', `${file}.webp`]);
        fs.rmSync(`${file}.png`);
      }),
    ),
  );
  console.log(name);
}
traffic = false;
await load;
await browser.close();
await daemon?.stop();
