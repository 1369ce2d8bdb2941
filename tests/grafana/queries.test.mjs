// Every query of the dashboards, asked of a Prometheus, and what Grafana makes of the answers. tests/grafana/main.rs starts what this needs:
// the job `traceflow` is an exporter that is well, the job `events` has changes, losses and errors, the job `other` is another program.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FILES, annotations, dashboard, panels, queries, variables } from './dashboards.mjs';
import { graph, problems } from './graph.mjs';
import { labelValues } from './lint.mjs';
import { frames, series, value, values } from './prometheus.mjs';
import { selectors } from './promql.mjs';
import { shown, transformed } from './transformations.mjs';

const ALL = { job: '.+', instance: '.+' };
const JOBS = ['traceflow', 'events'];
const OTHER = 'other';
const boards = FILES.map((file) => [file, dashboard(file)]);

/** What the exporter that is well need not show: its routes may not have changed yet, and it has no file of configuration. */
const RARE = [
  'traceflow.json: annotation Path changes',
  'traceflow.json: panel "Last path change", query A',
  'traceflow.json: panel "Loss at each hop", query B',
  'traceflow_exporter.json: panel "Configuration", query A',
  'traceflow_exporter.json: panel "Configuration read", query A',
];

const some = (found) => found.some(({ samples }) => samples.some(([, sample]) => !Number.isNaN(sample)));
const targetsOf = (job) => values(`traceflow_target_up{job="${job}"}`, 'target');

/** The choices of a job: each of its targets. */
async function choices(job) {
  return (await targetsOf(job)).map((target) => ({ job, instance: '.+', target }));
}

for (const [file, board] of boards) {
  test(`${file}: variables offer what there is`, async () => {
    const chosen = { ...ALL };
    for (const variable of variables(board)) {
      const [expression, label] = labelValues(variable);
      const offered = [];
      for (const job of expression.includes('$job') ? JOBS : ['.+']) {
        const query = expression.replace('$job', job).replace('$instance', chosen.instance);
        offered.push(...(await values(query, label)));
      }
      assert.ok(offered.length > 0, `${variable.name} offers nothing`);
      if (variable.name === 'target') assert.deepEqual(offered.sort(), (await Promise.all(JOBS.map(targetsOf))).flat().sort());
    }
  });
}

test('every query of panels and annotations finds data, and what only the events show is rare', async () => {
  const rare = [];
  for (const [file, board] of boards) {
    const asked = [
      ...queries(board).map(({ where, target }) => ({ where, target })),
      ...annotations(board).map(({ name, target }) => ({ where: `annotation ${name}`, target })),
    ];
    for (const { where, target } of asked) {
      const finds = async (job) => {
        const chosen = target.expr.includes('$target') ? await choices(job) : [{ ...ALL, job }];
        for (const choice of chosen) if (some(await series(target, choice))) return true;
        return false;
      };
      const [usual, events] = [await finds('traceflow'), await finds('events')];
      assert.ok(usual || events, `${file}: ${where} finds nothing`);
      if (!usual) rare.push(`${file}: ${where}`);
      // With all jobs and instances chosen, it is still one query.
      await series(target, { ...ALL, target: 'shop' });
    }
  }
  assert.deepEqual(rare.filter((where) => !RARE.includes(where)), []);
});

test('every metric exists that is asked for, also where nothing is an answer', async () => {
  const known = await values('{__name__!=""}', '__name__');
  for (const [file, board] of boards) {
    const asked = [...queries(board).map(({ where, target }) => [where, target.expr]), ...annotations(board).map(({ name, target }) => [name, target.expr])];
    for (const [where, expression] of asked) {
      for (const { metric } of selectors(expression)) assert.ok(known.includes(metric), `${file}: ${where}: there is no ${metric}`);
    }
  }
});

test('other programs are not counted', async () => {
  assert.equal(await value(`count({__name__=~"up|process_open_fds|scrape_duration_seconds", job="${OTHER}"})`), 3);
  const found = async (target, job) => (await series(target, { ...ALL, job, target: 'shop' })).map((one) => JSON.stringify(one)).sort();
  for (const [file, board] of boards) {
    for (const { where, target } of [...queries(board), ...annotations(board).map(({ name, target }) => ({ where: name, target }))]) {
      assert.deepEqual(await found(target, '.+'), await found(target, JOBS.join('|')), `${file}: ${where}`);
    }
  }
});

test('what is counted is what there is', async () => {
  const latest = async (title) => (await series(panel(title).targets[0], ALL))[0].samples.at(-1)[1];
  const all = async (name) => new Map((await series({ expr: name, instant: true }, {})).map(({ labels: { job, target }, samples }) => [`${job} ${target}`, samples[0][1]]));
  const [up, flows, arrived] = await Promise.all(['traceflow_target_up', 'traceflow_flows', 'traceflow_flows_reached'].map(all));
  const down = [...up.values()].filter((value) => value === 0).length;
  assert.ok(down > 0 && down !== up.size - down, 'as many are reached as are not');
  assert.equal(await latest('Targets reached'), up.size - down);
  assert.equal(await latest('Targets not reached'), down);
  const lost = [...up].filter(([, value]) => value === 1).map(([key]) => flows.get(key) - arrived.get(key));
  assert.ok(lost.some((count) => count > 0), 'all flows arrive');
  assert.equal(await latest('Flows that do not arrive'), lost.reduce((sum, count) => sum + count));
});

test('changes of every kind are in one picture', async () => {
  const known = (await values('{__name__=~"traceflow_.+_changes_total|traceflow_(flow_moves|late_discoveries)_total"}', '__name__')).sort();
  const drawn = panel('Changes by kind').targets.flatMap(({ expr }) => selectors(expr).map(({ metric }) => metric));
  assert.deepEqual(drawn.sort(), known);
});

test('legends name labels that there are', async () => {
  for (const [, board] of boards) {
    for (const { name, titleFormat, textFormat, target } of annotations(board)) {
      const names = [...`${titleFormat} ${textFormat}`.matchAll(/\{\{\s*(\w+)\s*\}\}/g)].map(([, label]) => label);
      assert.ok(names.includes('instance'), name);
      const found = await series(target, { ...ALL, target: 'shop' });
      assert.ok(found.length > 0, name);
      for (const { labels } of found) for (const label of names) assert.ok(label in labels, `annotation ${name}: no label ${label}`);
    }
    for (const { where, target } of queries(board)) {
      const names = [...(target.legendFormat ?? '').matchAll(/\{\{\s*(\w+)\s*\}\}/g)].map(([, name]) => name);
      const found = [];
      for (const job of JOBS) for (const choice of await choices(job)) found.push(...(await series(target, choice)));
      for (const { labels } of found) for (const name of names) assert.ok(name in labels, `${where}: no label ${name}`);
    }
  }
});

test('path changes are marked at their time', async () => {
  const [annotation] = annotations(dashboard('traceflow.json'));
  assert.ok(annotation.useValueForTime);
  const [found] = await series(annotation.target, { ...ALL, target: 'shop' });
  assert.equal(new Date(found.samples[0][1]).toISOString(), '2026-01-02T03:01:05.678Z');
});

test('overrides refer to fields and queries that there are', async () => {
  for (const [, board] of boards) {
    for (const panel of panels(board)) {
      const names = new Set();
      for (const job of JOBS) for (const choice of await choices(job)) for (const name of shown(await transformed(panel, await frames(panel, choice)))) names.add(name);
      for (const { matcher, properties } of panel.fieldConfig.overrides) {
        const known = matcher.id === 'byName' ? names : new Set(panel.targets.map(({ refId }) => refId));
        assert.ok(known.has(matcher.options), `panel "${panel.title}": nothing is called ${matcher.options}, only ${[...names]}`);
        assert.ok(properties.length > 0);
      }
    }
  }
});

const panel = (title) => structuredClone(panels(dashboard('traceflow.json')).find((candidate) => candidate.title === title));

test('the table of targets has a row a target', async () => {
  const table = panel('Targets');
  for (const job of JOBS) {
    const drawn = await transformed(table, await frames(table, { ...ALL, job }));
    assert.equal(drawn.length, 1);
    const [frame] = drawn;
    assert.deepEqual(shown(drawn), ['Target', 'Seen from', 'Reached', 'Paths', 'Flows lost', 'Hops', 'Loss', 'RTT (median)', 'Path changes in 24 h', 'Last round']);
    const rows = new Map(frame.fields[0].values.map((target, row) => [target, frame.fields.map((field) => field.values[row])]));
    assert.deepEqual([...rows.keys()].sort(), await targetsOf(job));
    assert.equal(frame.length, rows.size);
    for (const [target, row] of rows) assert.equal(row[3], await value(`traceflow_paths{job="${job}", target="${target}"}`));
  }
});

test('the times of hops are drawn over the numbers of hops', async () => {
  const chart = panel('RTT over hops, now');
  const [{ x, y }] = chart.options.series;
  for (const job of JOBS) {
    for (const choice of await choices(job)) {
      const drawn = await transformed(chart, await frames(chart, choice));
      const expected = await series({ expr: 'traceflow_hop_rtt_seconds{job="$job", target="$target"}', instant: true }, choice);
      if (expected.length === 0) continue;
      const [frame] = drawn;
      const field = ({ matcher }) => frame.fields.find(({ name }) => name === matcher.options);
      assert.deepEqual(field(x).values, expected.map(({ labels }) => Number(labels.ttl)).sort((one, other) => one - other));
      assert.equal(field(x).type, 'number');
      assert.deepEqual([...field(y).values].sort(), expected.map(({ samples }) => samples[0][1]).sort());
    }
  }
});

test('the heatmap has all buckets', async () => {
  const heatmap = panel('RTT to the destination');
  const edges = (await frames(heatmap, { ...ALL, target: 'shop' })).map(({ fields }) => Number(fields[1].labels.le.replace('+Inf', 'Infinity')));
  assert.equal(edges.length, await value('count(traceflow_rtt_seconds_bucket{target="shop"})'));
});

/** Every target's route as the panel draws it. */
async function drawn(route) {
  const all = [];
  for (const job of JOBS) for (const choice of await choices(job)) all.push([choice, graph(await transformed(route, await frames(route, choice)))]);
  return all;
}

test('the route is a graph with all nodes and links, for every target', async () => {
  let silent = 0;
  for (const [choice, found] of await drawn(panel('Route'))) {
    const { job, target } = choice;
    assert.deepEqual(problems(found), [], target);
    const wanted = async (name) => await value(`${name}{job="${job}", target="${target}"}`);
    assert.equal(found.nodes.length, await wanted('traceflow_nodes'), target);
    assert.equal(found.edges.length, await wanted('traceflow_links'), target);
    silent += found.nodes.filter(({ title }) => title.startsWith('*')).length;
    const links = await series({ expr: 'traceflow_link_flows{job="$job", target="$target"}', instant: true }, choice);
    // Ends are told apart by hop and address.
    const ends = links.map(({ labels: { job, instance, ttl, from, to } }) => [`${job} ${instance} ${ttl} ${from}`, `${job} ${instance} ${Number(ttl) + 1} ${to}`].join());
    assert.deepEqual(found.edges.map(({ source, target }) => [source, target].join()).sort(), ends.sort());
  }
  assert.ok(silent > 0, 'no route has a silent node');
});

test('a route that the panel could not draw is told', async () => {
  const rename = (options) => ({ id: 'organize', options: { excludeByName: {}, indexByName: {}, renameByName: options } });
  const edit = (ref, from, to) => (route) => {
    const query = route.targets.find(({ refId }) => refId === ref);
    assert.ok(query.expr.includes(from), from);
    query.expr = query.expr.replace(from, to);
  };
  const damages = [
    // Names that are only displayed.
    (route) => { route.transformations = [rename({ 'Value #nodes': 'mainstat' })]; },
    (route) => { route.transformations = []; },
    // A sum takes what is no number for zero.
    (route) => { route.transformations[0].options.reduce.reducer = 'sum'; },
    edit('nodes', '"id", " "', '"name", " "'),
    edit('nodes', '"job", "instance", "ttl", "address")', '"job", "instance", "ttl")'),
    edit('nodes', 'or\n', 'unless\n'),
    edit('nodes', '"color", "#73BF69"', '"colour", "#73BF69"'),
    edit('edges', '"next", "to"', '"ttl", "to"'),
    edit('edges', '"id", " ", "source", "to"', '"id", " ", "source"'),
    edit('edges', '1 + histogram_quantile', '2 + histogram_quantile'),
    (route) => { for (const query of route.targets) query.refId = query.refId.toUpperCase(); },
  ];
  for (const damage of damages) {
    const route = panel('Route');
    damage(route);
    let seen = [];
    for (const [{ job, target }, found] of await drawn(route)) {
      seen.push(...problems(found));
      if (found.nodes.length !== (await value(`traceflow_nodes{job="${job}", target="${target}"}`))) seen.push('nodes');
    }
    assert.notDeepEqual(seen, [], `not seen: ${damage}`);
  }
});
