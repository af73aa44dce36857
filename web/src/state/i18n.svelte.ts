// SPDX-License-Identifier: Apache-2.0
import { en, type Messages } from '../i18n/en';
import { zh } from '../i18n/zh';

export type Language = 'en' | 'zh';
const kItem = 'engramd.language';
const dictionaries: Record<Language, Messages> = { en, zh };

function initial(): Language {
  const stored = localStorage.getItem(kItem);
  if (stored === 'en' || stored === 'zh') return stored;
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

class I18n {
  language = $state<Language>(initial());

  get m(): Messages {
    return dictionaries[this.language];
  }
  use(language: Language): void {
    this.language = language;
    localStorage.setItem(kItem, language);
    document.documentElement.lang = language === 'zh' ? 'zh-Hans' : 'en';
  }
}
export const i18n = new I18n();
