// SPDX-License-Identifier: Apache-2.0
// Hash routes (#/memory, #/edit?layer=1&rows=7), so that the server has one page to serve.
export const pages = ['overview', 'memory', 'microscope', 'edit', 'operate', 'playground'] as const;
export type Page = (typeof pages)[number];

class Router {
  page = $state<Page>('overview');
  query = $state.raw(new URLSearchParams());

  constructor() {
    const read = (): void => {
      const [path = '', search = ''] = location.hash.replace(/^#\/?/, '').split('?');
      this.page = pages.find((page) => page === path) ?? 'overview';
      this.query = new URLSearchParams(search);
    };
    addEventListener('hashchange', read);
    read();
  }
  go(page: Page, query: Record<string, string> = {}): void {
    const search = new URLSearchParams(query).toString();
    location.hash = `#/${page}${search ? '?' + search : ''}`;
  }
}
export const router = new Router();
