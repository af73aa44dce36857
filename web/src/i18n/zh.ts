// SPDX-License-Identifier: Apache-2.0
import { edit } from './zh/edit';
import { keys, audit } from './zh/keys';
import { memory } from './zh/memory';
import { microscope } from './zh/microscope';
import { operate } from './zh/operate';
import { overview } from './zh/overview';
import { playground } from './zh/playground';
import { nav, app, states, dialog, signIn } from './zh/shell';
import type { Messages } from './en';

export const zh: Messages = { nav, app, states, dialog, signIn, overview, memory, microscope, edit, operate, keys, audit, playground };
