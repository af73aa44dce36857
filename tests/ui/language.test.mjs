// SPDX-License-Identifier: Apache-2.0
// Both languages say everything: the same keys, nothing left in the other language, nothing English on a Chinese page.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';
import { launch, openPage, root, startDaemon } from './support.mjs';

// What vite itself translates with.
const { build } = createRequire(path.join(root, 'web/package.json'))('esbuild');
async function dictionary(name) {
  const entry = path.join(root, 'web/src/i18n', `${name}.ts`);
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: 'esm', target: 'es2022', write: false });
  return (await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`))[name];
}
// "nav.overview" -> its text, or its function.
function flat(value, place = '', found = new Map()) {
  if (typeof value === 'object') for (const [name, inner] of Object.entries(value)) flat(inner, place ? `${place}.${name}` : name, found);
  else found.set(place, value);
  return found;
}
const en = flat(await dictionary('en'));
const zh = flat(await dictionary('zh'));

test('both languages have the same keys, texts of the same kind', () => {
  assert.ok(en.size > 300, `${en.size}`);
  assert.deepEqual([...zh.keys()].sort(), [...en.keys()].sort());
  for (const [place, value] of en) {
    assert.equal(typeof zh.get(place), typeof value, place);
    if (typeof value === 'function') assert.equal(zh.get(place).length, value.length, `${place}: other arguments`);
  }
});

test('no text is empty or left in English', () => {
  // Names of things that are the same in both: of products, units, metrics.
  const same = new Set(['microscope.placeholder', 'memory.p99', 'playground.over.websocket', 'playground.topP', 'playground.topK', 'playground.minP']);
  for (const [place, value] of en) {
    if (typeof value !== 'string' || place === 'memory.jobs.') continue;
    assert.notEqual(zh.get(place).trim(), '', place);
    assert.notEqual(value.trim(), '', place);
    if (!same.has(place) && /[a-z]{3}/.test(value)) assert.match(zh.get(place), /\p{Script=Han}/u, `${place}: ${zh.get(place)}`);
  }
});

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

test('a Chinese page shows no English text of the dashboard', async () => {
  const english = [...en].flatMap(([place, value]) => (typeof value === 'string' && value !== zh.get(place) ? [value] : []));
  // What is also a word of the API (states, scopes, kinds) may stand there as such.
  const words = new Set(english.filter((text) => text.length > 3 && !/^[a-z_]+$/.test(text)));
  const page = await openPage(browser, daemon.url, { language: 'zh-CN' });
  for (const place of ['overview', 'memory', 'microscope', 'edit', 'edit?tab=history', 'edit?tab=overlays', 'operate', 'operate?tab=keys',
    'operate?tab=config', 'operate?tab=audit', 'operate?tab=events', 'playground']) {
    await page.show(place);
    await page.waitForFunction(() => !document.querySelector('.skeleton'));
    const texts = await page.evaluate(() => {
      const found = [];
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) found.push(node.textContent.trim());
      for (const element of document.querySelectorAll('[aria-label], [title], [placeholder]')) {
        for (const name of ['aria-label', 'title', 'placeholder']) found.push(element.getAttribute(name)?.trim() ?? '');
      }
      return found;
    });
    assert.ok(texts.some((text) => /\p{Script=Han}/u.test(text)), place);
    assert.deepEqual(texts.filter((text) => words.has(text)), [], place);
  }
  await page.done();
});
