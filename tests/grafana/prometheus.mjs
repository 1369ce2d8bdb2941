// A Prometheus asked as Grafana's data source asks it, and its answers as the data frames that Grafana makes of them.
import { interpolate, load } from './dashboards.mjs';

const { FieldType, toDataFrame } = load('@grafana/data');
const url = process.env.PROMETHEUS_URL;

/** What Grafana puts in place of its variables about time. Rounds of the exporter tested are 15 s apart. */
export const TIME = { __rate_interval: '45s' };
/** One moment for all questions, so that all answers are of the same scrape; a scrape before, which may still be on its way. */
export const NOW = Math.floor(Date.now() / 1000) - 1;
const RANGE = { start: NOW - 20, end: NOW, step: 5 };

async function ask(path, parameters) {
  const response = await fetch(`${url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const answer = await response.json();
  if (answer.status !== 'success') throw new Error(`${path} ${JSON.stringify(parameters)}: ${answer.error}`);
  return answer.data;
}

/** The values of a variable that is label_values(expression, label). */
export function values(expression, label) {
  return ask(`label/${label}/values`, { 'match[]': expression, start: NOW - 20, end: NOW });
}

/** Series of a query: labels and [time, value] samples. */
export async function series(target, chosen) {
  const query = interpolate(target.expr, { ...TIME, ...chosen });
  const { result } = target.instant ? await ask('query', { query, time: NOW }) : await ask('query_range', { query, ...RANGE });
  return result.map(({ metric, value, values }) => ({ labels: metric, samples: (values ?? [value]).map(([time, text]) => [time * 1000, parse(text)]) }));
}

function parse(text) {
  return text.endsWith('Inf') ? (text.startsWith('-') ? -Infinity : Infinity) : Number.parseFloat(text);
}

/** The only value of an instant query. */
export async function value(expr, chosen) {
  const [only, ...others] = await series({ expr, instant: true }, chosen);
  if (!only || others.length > 0) throw new Error(`${expr} is not one series`);
  return only.samples[0][1];
}

/**
 * All answers of a panel. Where a query wants a table, its series become the rows of one frame: the time, a column a label in order of the
 * alphabet, and the value, which bears the query's name where several queries want tables. Elsewhere each series is a frame.
 */
export async function frames(panel, chosen) {
  const tables = panel.targets.filter(({ format }) => format === 'table').length;
  const all = [];
  for (const target of panel.targets) {
    const found = await series(target, chosen);
    if (target.format !== 'table') {
      for (const { labels, samples } of found) all.push(line(target, labels, samples));
    } else if (found.length > 0) {
      all.push(table(target, found, tables > 1 ? `Value #${target.refId}` : 'Value'));
    }
  }
  return all;
}

function line({ refId, legendFormat }, labels, samples) {
  const displayNameFromDS = legendFormat?.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');
  return toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: samples.map(([time]) => time) },
      { name: 'Value', type: FieldType.number, labels, config: { displayNameFromDS }, values: samples.map(([, value]) => value) },
    ],
  });
}

function table({ refId }, found, name) {
  const columns = [];
  for (const { labels } of found) columns.push(...Object.keys(labels).sort().filter((label) => !columns.includes(label)));
  const rows = found.flatMap(({ labels, samples }) => samples.map(([time, value]) => ({ labels, time, value })));
  return toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: rows.map(({ time }) => time) },
      ...columns.map((label) => ({ name: label, type: FieldType.string, config: { filterable: true }, values: rows.map(({ labels }) => labels[label] ?? '') })),
      { name, type: FieldType.number, values: rows.map(({ value }) => value) },
    ],
  });
}
