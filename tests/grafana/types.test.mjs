// The dashboards against Grafana's own types: dashboard, annotations, panels, and each type of panel's options and field settings. A key
// that Grafana does not know is an error, too.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { FILES, annotations, dashboard, load, panels } from './dashboards.mjs';

const ts = load('typescript');
const directory = fileURLToPath(new URL('../../.test-tools/grafana/', import.meta.url));

/** Where the types of each type of panel are, and whether it has settings of fields. */
const PANELS = {
  heatmap: ['heatmap/panelcfg/x/HeatmapPanelCfg_types.gen', true],
  nodeGraph: ['nodegraph/panelcfg/x/NodeGraphPanelCfg_types.gen', false],
  stat: ['stat/panelcfg/x/StatPanelCfg_types.gen', false],
  'state-timeline': ['statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen', true],
  table: ['table/panelcfg/x/TablePanelCfg_types.gen', false],
  timeseries: ['timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen', true],
  xychart: ['xychart/panelcfg/x/XYChartPanelCfg_types.gen', true],
};

/** Keys that Prometheus' data source adds to an annotation and that Grafana's types leave to it. */
const OF_PROMETHEUS = ['expr', 'titleFormat', 'textFormat', 'tagKeys', 'useValueForTime'];

// In a file the values of an enumeration stand as plain text, and what is left out has a default.
const HEAD = `
import type { Dashboard } from '@grafana/schema';
type Plain<T> = T extends string ? \`\${T}\` : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Loose<T> = T extends (infer U)[] ? U[] : T extends object ? { [K in keyof T]?: Loose<T[K]> } : T;
`;

/** What the compiler says of a dashboard. */
function problems(board) {
  const plain = structuredClone(board);
  for (const annotation of annotations(plain)) {
    for (const key of OF_PROMETHEUS) delete annotation[key];
    delete annotation.target.expr;
  }
  const lines = [HEAD, `export const board: Plain<Dashboard> = ${JSON.stringify(plain)};`];
  panels(board).forEach((panel, index) => {
    assert.ok(PANELS[panel.type], `no types are known of a panel ${panel.type}`);
    const [module, hasFields] = PANELS[panel.type];
    const from = `import('@grafana/schema/dist/esm/raw/composable/${module}')`;
    lines.push(`export const options${index}: Plain<Loose<${from}.Options>> = ${JSON.stringify(panel.options)};`);
    if (hasFields) lines.push(`export const fields${index}: Plain<Loose<${from}.FieldConfig>> = ${JSON.stringify(panel.fieldConfig.defaults.custom ?? {})};`);
  });
  const file = `${directory}dashboard.ts`;
  const options = { strict: true, noEmit: true, skipLibCheck: true, types: [], module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, target: ts.ScriptTarget.ES2022 };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  const text = lines.join('\n');
  host.getSourceFile = (name, ...more) => (name === file ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022) : getSourceFile.call(host, name, ...more));
  host.fileExists = (name) => name === file || fileExists.call(host, name);
  host.readFile = (name) => (name === file ? text : readFile.call(host, name));
  const found = ts.getPreEmitDiagnostics(ts.createProgram([file], options, host));
  return found.map(({ messageText, start }) => `${ts.flattenDiagnosticMessageText(messageText, ' ')} at ${text.slice(start, start + 60)}`);
}

for (const file of FILES) {
  test(`${file} has the shape that Grafana's types want`, () => assert.deepEqual(problems(dashboard(file)), []));
}

test('the version of the format is the newest', () => {
  const { defaultDashboard } = load('@grafana/schema');
  for (const file of FILES) assert.equal(dashboard(file).schemaVersion, defaultDashboard.schemaVersion);
});

test('what Grafana does not know is told', () => {
  const board = dashboard('traceflow.json');
  const of = (type, change) => {
    const copy = structuredClone(board);
    change(panels(copy).find((panel) => panel.type === type), copy);
    return problems(copy);
  };
  const damages = [
    ['stat', (panel) => { panel.options.graphMod = 'area'; }],
    ['stat', (panel) => { panel.fieldConfig.defaults.units = 's'; }],
    ['stat', (panel) => { panel.gridPos.w = '4'; }],
    ['table', (panel) => { panel.transformations[0].option = {}; }],
    ['nodeGraph', (panel) => { panel.options.nodes.mainStatUnits = 'ms'; }],
    ['timeseries', (panel) => { panel.fieldConfig.defaults.custom.drawStyle = 'dots'; }],
    ['xychart', (panel) => { panel.options.mapping = 'hand'; }],
    ['heatmap', (_panel, copy) => { copy.annotations.list[1].useValue = true; }],
    ['heatmap', (_panel, copy) => { copy.templating.list[1].refresh = '2'; }],
  ];
  for (const [type, damage] of damages) assert.notDeepEqual(of(type, damage), [], `not seen: ${damage}`);
});
