// SPDX-License-Identifier: Apache-2.0
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { launch, model, openPage, startDaemon } from './support.mjs';

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

async function lookAt(prompt, { length = 0, ...options } = {}) {
  const page = await openPage(browser, daemon.url, options);
  await page.show(`microscope?prompt=${encodeURIComponent(prompt)}`);
  await page.getByLabel('New tokens').fill(String(length));
  const look = page.getByRole('button', { name: 'Look', exact: true });
  await look.click();
  await look.waitFor(); // Until then it says "Stop".
  return page;
}
const options = (page) => page.getByTestId('strip').getByRole('option');
const tokens = (page) => options(page).allTextContents();

test('tokens carry the gates that the API gives', async () => {
  const { json } = await daemon.post('/v1/completions', {
    prompt: 'The capital of Japan is', max_tokens: 0, echo: true, engram: { gates: true, rows: true },
  });
  const gates = json.choices[0].engram.gates;
  const page = await lookAt('The capital of Japan is');
  assert.deepEqual(await tokens(page), ['The', ' capital', ' of', ' Japan', ' is']);
  const shown = () => options(page).evaluateAll((all) => all.map((one) => Number(one.style.getPropertyValue('--g'))));
  const close = (actual, wanted) => actual.forEach((value, at) => assert.ok(Math.abs(value - wanted[at]) < 1e-4, `${at}: ${value} ${wanted[at]}`));
  close(await shown(), gates.map((layers) => (layers[0][0] + layers[1][0]) / 2));
  await page.getByLabel('Layer').selectOption('2');
  close(await shown(), gates.map((layers) => layers[1][0]));

  // One token's n-grams and rows.
  await options(page).nth(3).click();
  const detail = page.getByTestId('detail');
  await detail.getByText('of Japan', { exact: false }).first().waitFor();
  for (const layer of json.choices[0].engram.rows[3]) {
    for (const row of layer) await detail.getByText(String(row), { exact: true }).waitFor();
  }
  await page.done();
});

test('arrow keys move, and the pointer only looks', async () => {
  const page = await lookAt('The capital of Japan is');
  const strip = page.getByTestId('strip');
  await strip.focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.getByTestId('strip').locator('[aria-selected=true]').textContent(), ' capital');
  await options(page).nth(3).hover();
  await page.getByTestId('detail').getByText('Position 3').waitFor();
  assert.equal(await page.getByTestId('strip').locator('[aria-selected=true]').textContent(), ' capital');
  await page.done();
});

test('memory on and off, side by side, with the difference', async () => {
  const page = await lookAt('The capital of Japan is', { length: 8 });
  assert.equal((await page.getByTestId('with-memory').textContent()).trim(), 'Tokyo.');
  assert.doesNotMatch(await page.getByTestId('without-memory').textContent(), /Tokyo/);
  await page.getByText('Effect of memory', { exact: true }).click();
  const lifted = await options(page).evaluateAll((all) => all.filter((one) => !one.classList.contains('cool') && Number(one.style.getPropertyValue('--g')) > 0.5).length);
  assert.ok(lifted > 0, 'memory lifts some token of the answer');
  await page.done();
});

test('a generation token by token', async () => {
  const page = await lookAt('The capital of Japan is', { length: 8 });
  const shown = () => options(page).evaluateAll((all) => all.filter((one) => getComputedStyle(one).visibility === 'visible').map((one) => one.textContent).join(''));
  await page.getByRole('button', { name: 'Next token' }).click();
  assert.equal(await shown(), 'The capital of Japan is T');
  await page.getByRole('button', { name: 'Next token' }).click();
  assert.equal(await shown(), 'The capital of Japan is Tok');
  await page.getByText('token 2 of').waitFor();
  await page.getByRole('button', { name: 'Whole text' }).click();
  assert.equal(await shown(), 'The capital of Japan is Tokyo.');
  await page.done();
});

test('the logit lens tells what each layer would say', async () => {
  const page = await lookAt('The capital of Japan is');
  const lens = page.getByTestId('lens');
  await lens.waitFor();
  assert.equal(await lens.locator('table').count(), 2);
  assert.equal(await lens.locator('table').first().locator('tbody tr').count(), 4);
  await page.done();
});

test('Chinese and combining characters: parts of characters, and marks, are seen', async () => {
  const prompt = '東京は日本 e\u0301 क\u094dष';
  const page = await lookAt(prompt);
  const shown = await tokens(page);
  const { json } = await daemon.post('/tokenize', { prompt });
  assert.equal(shown.length, json.count);
  assert.ok(shown.some((label) => label.includes('東')), shown.join('|'));
  assert.ok(shown.includes('‥'), 'a token that is the rest of a character');
  assert.ok(shown.every((label) => label !== '' && !label.includes('\ufffd')), shown.join('|'));
  const whole = shown.filter((label) => label !== '‥').join('').replaceAll('◌', '').replaceAll('␣', ' ').normalize('NFC');
  assert.equal(whole, prompt.normalize('NFC'));
  await page.done();
});

test('what looks like markup, or would turn the text around, stays text', async () => {
  const evil = '<img src=x onerror="window.stung=1"><script>window.stung=1</script>\u202Egnp.exe\u200B\u0000\u0007{@html 1}';
  const page = await lookAt(evil);
  const shown = (await tokens(page)).join('');
  assert.ok(shown.includes('<img'), shown);
  assert.ok(!/[\u202e\u200b\u0000-\u001f]/.test(shown), 'invisible and directional characters have names');
  assert.ok(shown.includes('⟨202E⟩') || shown.includes('‥'), shown);
  assert.equal(await page.evaluate(() => window.stung), undefined);
  assert.equal(await page.locator('main img, main script').count(), 0);
  await options(page).first().click();
  await page.done();
});

test('a prompt that is too long is refused in the server\'s words', async () => {
  const page = await openPage(browser, daemon.url);
  await page.show('microscope');
  await page.getByLabel('Prompt', { exact: true }).fill('word '.repeat(2000));
  await page.getByRole('button', { name: 'Look', exact: true }).click();
  await page.getByRole('alert').filter({ hasText: '512' }).waitFor();
  await page.done();
});

test('10,000 tokens: only what is seen exists, and scrolling does not stumble', async () => {
  // The same model with a longer context: its positions are rotations, so any length will do.
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'engramd-ui-'));
  const long = path.join(dir, 'lexicon-long');
  fs.cpSync(model, long, { recursive: true });
  const config = JSON.parse(fs.readFileSync(path.join(long, 'config.json'), 'utf8'));
  fs.writeFileSync(path.join(long, 'config.json'), JSON.stringify({ ...config, max_position_embeddings: 16384 }));
  const other = await startDaemon({ model: long });
  try {
    const page = await openPage(browser, other.url);
    await page.show('microscope');
    await page.getByLabel('New tokens').fill('0');
    await page.getByLabel('Prompt', { exact: true }).fill('The capital of Japan is Tokyo. '.repeat(1250));
    await page.getByRole('button', { name: 'Look', exact: true }).click();
    await page.getByText(/^1\d,\d{3} tokens of prompt/).waitFor({ timeout: 120_000 });
    assert.ok((await options(page).count()) < 600);
    await page.getByTestId('strip').focus();
    const worst = await page.evaluate(async () => {
      const strip = document.querySelector('[data-testid=strip]');
      const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
      const times = [];
      for (let step = 1; step <= 60; ++step) {
        const start = performance.now();
        strip.scrollTop = (strip.scrollHeight * step) / 60;
        await frame();
        times.push(performance.now() - start);
      }
      return { median: times.sort((a, b) => a - b)[30], last: strip.querySelectorAll('[role=option]').length };
    });
    console.log(`10,000 tokens: median frame while scrolling ${worst.median.toFixed(1)} ms`);
    assert.ok(worst.last > 0 && worst.last < 600);
    await page.keyboard.press('End');
    const position = await page.getByTestId('strip').locator('[aria-selected=true]').getAttribute('aria-posinset');
    assert.equal(position, await page.getByTestId('strip').locator('[aria-selected=true]').getAttribute('aria-setsize'));
    await page.done();
  } finally {
    await other.stop();
    fs.rmSync(dir, { recursive: true, force: true });
  }
});
