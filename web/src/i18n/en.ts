// SPDX-License-Identifier: Apache-2.0
// Every text of the dashboard, a file for each page. Other languages have the type of this one.
import { edit } from './en/edit';
import { keys, audit } from './en/keys';
import { memory } from './en/memory';
import { microscope } from './en/microscope';
import { operate } from './en/operate';
import { overview } from './en/overview';
import { playground } from './en/playground';
import { nav, app, states, dialog, signIn } from './en/shell';

export const en = { nav, app, states, dialog, signIn, overview, memory, microscope, edit, operate, keys, audit, playground };
export type Messages = typeof en;
