// SPDX-License-Identifier: Apache-2.0

export const nav = {
  label: 'Pages',
  overview: 'Overview',
  memory: 'Memory',
  microscope: 'Microscope',
  edit: 'Edit',
  operate: 'Operate',
  playground: 'Playground',
  skip: 'Skip to content',
};

export const app = {
  language: 'Language',
  model: 'Model',
  dark: 'Dark theme',
  light: 'Light theme',
  signIn: 'Sign in',
  signOut: 'Sign out',
  memoryVersion: (version: number) => `memory v${version}`,
  state: { ready: 'Ready', loading: 'Loading', draining: 'Draining', lost: 'No connection', connecting: 'Connecting', denied: 'Limited view' },
  lost: (seconds: number) => `The daemon does not answer. Trying again in ${seconds} s. What you see is from before.`,
  lostNow: 'The daemon does not answer. Trying again …',
  retryNow: 'Try now',
  deniedMetrics: 'This key may not read metrics: numbers that need the scope “read” are missing.',
};

export const states = {
  loading: 'Loading …',
  retry: 'Try again',
  unavailable: (what: string) => `${what}: not available on this server`,
  unavailableHint: 'This build of engramd has no such route.',
  forbidden: (what: string) => `${what}: this key is not allowed to see it`,
  forbiddenHint: 'Sign in with a key that has the scope it needs.',
  failed: (what: string) => `${what}: the server answered with an error`,
  offline: (what: string) => `${what}: no connection to the server`,
  needScope: (scope: string) => `Needs a key with the scope “${scope}”.`,
};

export const dialog = { cancel: 'Cancel' };

export const signIn = {
  title: 'Sign in',
  lead: 'This server asks for an API key. It stays in this tab and is forgotten when you close it.',
  key: 'API key',
  submit: 'Sign in',
  checking: 'Checking …',
  refused: 'The server does not know this key.',
  scopes: 'generate: playground, microscope. read: numbers and memory. edit: change memory. operate: swap and configure.',
};
