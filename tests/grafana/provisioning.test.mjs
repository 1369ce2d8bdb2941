// The provisioning files: what Grafana reads of them, and that the dashboards find in one place what the other names.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FILES, dashboard, load, panels, read } from './dashboards.mjs';

const { parse } = load('yaml');
const files = () => ({
  sources: parse(read('grafana/provisioning/datasources/prometheus.yaml')),
  providers: parse(read('grafana/provisioning/dashboards/traceflow.yaml')),
  boards: FILES.map(dashboard),
});

/** The keys that Grafana reads; others it ignores without a word. */
const KEYS = {
  file: { apiVersion: 'number', datasources: 'object', providers: 'object' },
  source: { name: 'string', uid: 'string', type: 'string', access: 'string', url: 'string', isDefault: 'boolean', editable: 'boolean', jsonData: 'object' },
  provider: { name: 'string', folder: 'string', type: 'string', disableDeletion: 'boolean', allowUiUpdates: 'boolean', updateIntervalSeconds: 'number', options: 'object' },
};

function shape(where, value, keys) {
  return Object.entries(value ?? {}).flatMap(([key, entry]) => (typeof entry === keys[key] ? [] : [`${where}: ${key} is ${typeof entry}, not ${keys[key] ?? 'known'}`]));
}

function problems({ sources, providers, boards }) {
  const found = [...shape('datasources', sources, KEYS.file), ...shape('dashboards', providers, KEYS.file)];
  for (const { apiVersion } of [sources, providers]) if (apiVersion !== 1) found.push(`version ${apiVersion}`);
  const [source, ...more] = sources.datasources ?? [];
  if (!source || more.length > 0) return [...found, 'there is not one data source'];
  found.push(...shape('data source', source, KEYS.source));
  if (source.type !== 'prometheus' || source.access !== 'proxy' || source.isDefault !== true) found.push('the data source is no Prometheus that is asked by default');
  if (!/^http:\/\/[\w.-]+:\d+$/.test(source.url)) found.push(`the data source is at ${source.url}`);
  if (!/^\d+s$/.test(source.jsonData?.timeInterval)) found.push('nothing says how often Prometheus scrapes');
  const [provider, ...others] = providers.providers ?? [];
  if (!provider || others.length > 0) return [...found, 'there is not one provider'];
  found.push(...shape('provider', provider, KEYS.provider));
  if (provider.type !== 'file' || !provider.options?.path?.startsWith('/')) found.push('the provider reads no directory');
  // What is changed in the browser would be gone with the next start: neither file may say otherwise.
  if (provider.allowUiUpdates !== false || boards.some(({ editable }) => editable !== false)) found.push('changes in the browser would be lost');
  // Grafana keeps one of two dashboards with the same identifier or title.
  for (const key of ['uid', 'title']) {
    const values = boards.map((board) => board[key]);
    if (values.some((value) => !value) || new Set(values).size < values.length) found.push(`the dashboards' ${key}: ${values}`);
  }
  if (boards.some(({ uid }) => !/^[\w-]{1,40}$/.test(uid))) found.push('a uid that Grafana refuses');
  const uids = boards.map(({ uid }) => uid);
  for (const board of boards) {
    for (const [, uid] of JSON.stringify(panels(board)).matchAll(/\/d\/([\w-]+)/g)) if (!uids.includes(uid)) found.push(`a link leads to ${uid}`);
    for (const { type, tags } of board.links) {
      if (type !== 'dashboards' || !boards.every((other) => tags.every((tag) => other.tags.includes(tag)))) found.push('the dashboards are not linked');
    }
  }
  return found;
}

test('Grafana is told all that it needs', () => assert.deepEqual(problems(files()), []));

test('what is wrong is told', () => {
  const damages = [
    ({ sources }) => { sources.apiVersion = 2; },
    ({ sources }) => { sources.datasources.push({ name: 'other', type: 'prometheus' }); },
    ({ sources }) => { sources.datasources[0].isdefault = true; },
    ({ sources }) => { sources.datasources[0].isDefault = false; },
    ({ sources }) => { sources.datasources[0].type = 'loki'; },
    ({ sources }) => { sources.datasources[0].url = 'prometheus:9090'; },
    ({ sources }) => { delete sources.datasources[0].jsonData.timeInterval; },
    ({ providers }) => { providers.providers = []; },
    ({ providers }) => { providers.providers[0].option = {}; },
    ({ providers }) => { providers.providers[0].options.path = 'dashboards'; },
    ({ providers }) => { providers.providers[0].allowUiUpdates = true; },
    ({ boards }) => { boards[1].uid = boards[0].uid; },
    ({ boards }) => { boards[0].uid = 'traceflow-paths'; },
    ({ boards }) => { boards[1].title = boards[0].title; },
    ({ boards }) => { boards[1].tags = []; },
  ];
  for (const damage of damages) {
    const copy = files();
    damage(copy);
    assert.notDeepEqual(problems(copy), [], `not seen: ${damage}`);
  }
});
