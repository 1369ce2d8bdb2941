// What Grafana's Node Graph reads of data frames, and what it needs. It looks at the raw names of fields: a name that is only displayed
// is none.
import { load } from './dashboards.mjs';

const { FieldCache } = load('@grafana/data');

/** Fields by their names in small letters, as the panel reads them. */
function fields(frame) {
  const cache = new FieldCache({ ...frame, fields: frame.fields.map((field) => ({ ...field, name: field.name.toLowerCase() })) });
  return (name) => cache.getFieldByName(name)?.values;
}

/** Nodes and edges that the panel would draw. A frame with a field `source` has edges. */
export function graph(frames) {
  const drawn = { nodes: [], edges: [] };
  for (const frame of frames.filter(({ refId }) => ['nodes', 'edges'].includes(refId))) {
    const of = fields(frame);
    const kind = frame.fields.some(({ name }) => name === 'source') ? 'edges' : 'nodes';
    const row = (index) => Object.fromEntries(['id', 'title', 'subtitle', 'mainstat', 'color', 'source', 'target'].map((name) => [name, of(name)?.[index]]));
    for (let index = 0; index < frame.length; index += 1) drawn[kind].push(row(index));
  }
  return drawn;
}

/** Why the panel would fail, draw less than there is, or draw something without a name. */
export function problems({ nodes, edges }) {
  const found = [];
  const ids = new Set(nodes.map(({ id }) => id));
  const unique = (kind, list) => {
    if (list.some(({ id }) => !id)) found.push(`${kind} without id`);
    if (new Set(list.map(({ id }) => id)).size < list.length) found.push(`two ${kind} have the same id`);
  };
  unique('nodes', nodes);
  unique('edges', edges);
  for (const { title, subtitle, mainstat, color } of nodes) {
    if (!title || !subtitle) found.push('a node without title or subtitle');
    // A silent node has no time; what is no number is not shown.
    if (typeof mainstat !== 'number' || Number.isNaN(mainstat) !== title.startsWith('*')) found.push(`node ${title} shows ${mainstat}`);
    if (!/^#[0-9A-F]{6}$/.test(color)) found.push(`node ${title} has the colour ${color}`);
  }
  for (const { id, source, target, mainstat } of edges) {
    if (!ids.has(source)) found.push(`edge ${id} begins nowhere: ${source}`);
    if (!ids.has(target)) found.push(`edge ${id} ends nowhere: ${target}`);
    if (!/^\d+ flows$/.test(mainstat)) found.push(`edge ${id} shows ${mainstat}`);
  }
  return [...new Set(found)];
}
