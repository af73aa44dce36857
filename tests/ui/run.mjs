// SPDX-License-Identifier: Apache-2.0
// node run.mjs NAME: runs NAME.test.mjs, or ends with 77, which ctest shows as skipped, where something it needs is not
// there.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
function skip(why) {
  console.log(`SKIPPED: ${why}`);
  process.exit(77);
}
for (const [dir, name] of [['tests/ui', 'playwright-core'], ['tests/e2e', 'ajv']]) {
  if (!fs.existsSync(path.join(here, '../..', dir, 'node_modules', name))) skip(`no packages: npm ci in ${dir} (scripts/setup --tests)`);
}
if (!fs.existsSync(path.join(here, '../../web/dist/index.html'))) skip('the dashboard is not built: target "dashboard"');
const { findChromium } = await import('./support.mjs');
if (!findChromium()) skip('no chromium: apt-get install chromium, or CHROMIUM=/path/to/it');
const { status } = spawnSync(process.execPath, ['--test', path.join(here, `${process.argv[2]}.test.mjs`)], { stdio: 'inherit' });
process.exit(status ?? 1);
