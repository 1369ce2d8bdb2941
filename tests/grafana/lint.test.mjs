// Each rule holds for each dashboard, and is broken by the one copy that was made to break it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FILES, dashboard, panels, read, variables } from './dashboards.mjs';
import { OWN, RULES } from './lint.mjs';

const boards = Object.fromEntries(FILES.map((file) => [file, dashboard(file)]));
const all = { ...RULES, ...OWN };
const variable = (board, name) => board.templating.list.find((variable) => variable.name === name);
const target = (board, expression) => {
  const found = panels(board).flatMap(({ targets }) => targets).find(({ expr }) => expr.includes(expression));
  assert.ok(found, `no query has ${expression}`);
  return found;
};
const replace = (board, from, to) => {
  const found = target(board, from);
  found.expr = found.expr.replace(from, to);
};

/** How to break each rule, several ways where it says several things. */
const BREAKS = {
  'template-datasource-rule': [
    (board) => board.templating.list.shift(),
    (board) => { variable(board, 'datasource').name = 'ds'; },
    (board) => { variable(board, 'datasource').query = 'loki'; },
  ],
  'template-job-rule': [
    (board) => { variable(board, 'job').multi = false; },
    (board) => { variable(board, 'job').label = 'job'; },
    (board) => { variable(board, 'job').allValue = '.*'; },
    (board) => { variable(board, 'job').datasource.uid = 'prometheus'; },
  ],
  'template-instance-rule': [(board) => { variable(board, 'instance').name = 'node'; }],
  'template-label-promql-rule': [
    (board) => { variable(board, 'instance').query.query = 'label_values(up{job=~$job}, instance)'; },
    (board) => { variable(board, 'instance').query.query = 'up'; },
  ],
  'template-on-time-change-reload-rule': [(board) => { variables(board)[0].refresh = 1; }],
  'panel-datasource-rule': [
    (board) => { panels(board)[0].datasource.uid = 'prometheus'; },
    (board) => { delete panels(board)[0].targets[0].datasource; },
    (board) => { board.annotations.list[1].datasource = null; },
  ],
  'panel-title-description-rule': [
    (board) => { panels(board)[0].title = ''; },
    (board) => { delete panels(board).at(-1).description; },
  ],
  'panel-units-rule': [
    (board) => { delete panels(board)[0].fieldConfig.defaults.unit; },
    (board) => { panels(board)[0].fieldConfig.defaults.unit = 'parsec'; },
  ],
  'panel-no-targets-rule': [(board) => { panels(board)[0].targets = []; }],
  'target-logql-rule': [(board) => { panels(board)[0].targets[0].datasource.type = 'loki'; }],
  'target-logql-auto-rule': [(board) => { panels(board)[0].targets[0].expr = 'rate({job=~"$job"}[$__auto])'; }],
  'target-promql-rule': [
    (board) => replace(board, 'sum(', 'sum(('),
    (board) => { panels(board)[0].targets[0].expr = ' '; },
    (board) => { board.annotations.list[1].target.expr = '1 +'; },
  ],
  'target-rate-interval-rule': [(board) => replace(board, '[$__rate_interval]', '[5m]')],
  'target-job-rule': [(board) => replace(board, 'job=~"$job", ', ''), (board) => replace(board, 'job=~"$job"', 'job="$job"')],
  'target-instance-rule': [(board) => replace(board, ', instance=~"$instance"', '')],
  'target-counter-agg-rule': [(board) => replace(board, /\w+\((traceflow_probes_sent_total{[^}]*})\[[^\]]*\]\)/.exec(target(board, 'traceflow_probes_sent_total').expr)[0], 'traceflow_probes_sent_total{job=~"$job", instance=~"$instance"}')],
  'uneditable-dashboard': [(board) => { board.editable = true; }, (board) => { delete board.editable; }],
  'unknown-variables': [(board) => replace(board, '"$instance"', '"$instances"'), (board) => { panels(board)[0].title += ' of ${site}'; }],
  'unused-variables': [(board) => board.templating.list.push({ name: 'site', type: 'custom' })],
  'unique-ids': [(board) => { board.panels[2].id = board.panels[1].id; }],
  'formats': [
    (board) => { panels(board)[0].targets[0].format = 'table'; },
    (board) => { panels(board)[0].type = 'heatmap'; },
  ],
  'grid': [(board) => { board.panels[1].gridPos.w += 1; }, (board) => { board.panels.at(-1).gridPos.x = 23; }],
};

for (const [name, rule] of Object.entries(all)) {
  for (const [file, board] of Object.entries(boards)) {
    test(`${name}: ${file}`, () => assert.deepEqual(rule(board), []));
    test(`${name}: broken copies of ${file}`, () => {
      assert.ok(BREAKS[name]?.length, 'nothing breaks this rule');
      for (const damage of BREAKS[name]) {
        const copy = structuredClone(board);
        damage(copy);
        assert.notDeepEqual(rule(copy), [], `not seen: ${damage}`);
      }
    });
  }
}

test('the documentation has every panel and no other', () => {
  const parts = read('docs/dashboard.md').split('## Traceflow: ').slice(1);
  FILES.forEach((file, index) => {
    const titles = panels(boards[file]).map(({ title }) => title).sort();
    const [, table] = parts[index].split('|---|---|---|\n');
    const cells = [...table.split('\n\n')[0].matchAll(/^\| ([^|]+) \|/gm)].map(([, cell]) => cell);
    // Several in a row where a title has no comma itself.
    assert.deepEqual(cells.flatMap((cell) => (titles.includes(cell) ? [cell] : cell.split(', '))).sort(), titles);
  });
});

test('the format of the heatmap is looked at', () => {
  const board = structuredClone(boards['traceflow.json']);
  delete panels(board).find(({ type }) => type === 'heatmap').targets[0].format;
  assert.notDeepEqual(OWN.formats(board), []);
});
