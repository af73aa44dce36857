// SPDX-License-Identifier: Apache-2.0
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// For `npm run dev`: a running engramd.
const daemon = process.env.ENGRAM_URL ?? 'http://127.0.0.1:8484';
const routes = ['/v1', '/admin', '/metrics', '/health', '/tokenize', '/detokenize', '/openapi.yaml'];

export default defineConfig({
  base: '/ui/',
  plugins: [svelte()],
  build: {
    target: 'es2022',
    // Files, not data: URLs, and nothing injected into the page: the server's Content-Security-Policy allows only 'self'.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: { proxy: Object.fromEntries(routes.map((route) => [route, { target: daemon, ws: true }])) },
});
