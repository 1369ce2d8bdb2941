// The dashboards and the packages that their tests ask. Knows the shape of a dashboard, nothing of Prometheus.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const root = new URL('../../', import.meta.url);

/** Loads a package that scripts/install-test-tools put into .test-tools/grafana. */
export const load = createRequire(new URL('.test-tools/grafana/package.json', root));

// Grafana's code is made for browsers. Newer versions of node have a navigator of their own.
const { window } = new (load('jsdom').JSDOM)('', { url: 'http://localhost/' });
for (const name of ['window', 'document', 'navigator']) {
  if (!globalThis[name]) Object.defineProperty(globalThis, name, { value: name === 'window' ? window : window[name] });
}

export const FILES = ['traceflow.json', 'traceflow_exporter.json'];

/** A file of the repository as text. */
export function read(path) {
  return readFileSync(new URL(path, root), 'utf8');
}

export function dashboard(file) {
  return JSON.parse(read(`grafana/dashboards/${file}`));
}

/** All panels but the headings of rows. */
export function panels(board) {
  return board.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]).filter((panel) => panel.type !== 'row');
}

/** Every query of a dashboard with where it stands. */
export function queries(board) {
  const found = [];
  for (const panel of panels(board)) {
    for (const target of panel.targets ?? []) {
      found.push({ where: `panel "${panel.title}", query ${target.refId}`, panel, target });
    }
  }
  return found;
}

/** Annotations that ask Prometheus; Grafana's own is not among them. */
export function annotations(board) {
  return board.annotations.list.filter((annotation) => !annotation.builtIn);
}

export function variables(board) {
  return board.templating.list.filter((variable) => variable.type === 'query');
}

/** A text with the values of variables for $name and ${name}; unknown names are left. */
export function interpolate(text, values) {
  return text.replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, bare, braced) => values[bare ?? braced] ?? whole);
}
