// SPDX-License-Identifier: Apache-2.0
import type { Messages } from '../en';

export const nav: Messages['nav'] = {
  label: '页面',
  overview: '概览',
  memory: '记忆',
  microscope: '显微镜',
  edit: '编辑',
  operate: '运维',
  playground: '试验场',
  skip: '跳到内容',
};

export const app: Messages['app'] = {
  language: '语言',
  model: '模型',
  dark: '深色主题',
  light: '浅色主题',
  signIn: '登录',
  signOut: '退出登录',
  memoryVersion: (version) => `记忆 v${version}`,
  state: { ready: '就绪', loading: '加载中', draining: '排空中', lost: '连接中断', connecting: '连接中', denied: '受限' },
  lost: (seconds) => `守护进程没有响应，${seconds} 秒后重试。页面上是之前的数据。`,
  lostNow: '守护进程没有响应，正在重试……',
  retryNow: '立即重试',
  deniedMetrics: '此密钥无权读取指标，需要 “read” 权限的数字不会显示。',
};

export const states: Messages['states'] = {
  loading: '加载中……',
  retry: '重试',
  unavailable: (what) => `${what}：此服务器不提供`,
  unavailableHint: '这个版本的 engramd 没有相应的接口。',
  forbidden: (what) => `${what}：此密钥无权查看`,
  forbiddenHint: '请使用具有相应权限的密钥登录。',
  failed: (what) => `${what}：服务器返回错误`,
  offline: (what) => `${what}：无法连接服务器`,
  needScope: (scope) => `需要具有 “${scope}” 权限的密钥。`,
};

export const dialog: Messages['dialog'] = { cancel: '取消' };

export const signIn: Messages['signIn'] = {
  title: '登录',
  lead: '此服务器需要 API 密钥。密钥只保存在本标签页中，关闭后即被清除。',
  key: 'API 密钥',
  submit: '登录',
  checking: '验证中……',
  refused: '服务器不认识此密钥。',
  scopes: 'generate：试验场、显微镜。read：指标与记忆。edit：修改记忆。operate：切换与配置。',
};
