// What numbers look like, said by Grafana's own code: units, texts in place of numbers, and colours. A row a panel and a row a column or query
// that looks different.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FILES, dashboard, load, panels } from './dashboards.mjs';

const { FieldType, createTheme, getDisplayProcessor } = load('@grafana/data');
const theme = createTheme();
const AGO = Date.now() - 50 * 3600 * 1000;

/** Numbers with their texts; those that mean more than a size have a colour. */
const AMOUNT = [[1500, '1.50 K']];
const COUNT = [[0.4, '0'], [1500, '2 K']];
const TIME = [[0.05, '50 ms'], [90, '1.50 mins']];
const WHEN = [[AGO, '2 days ago']];
const SHARE = [[0.05, '5%'], [1, '100%']];
const TENTHS = [[0.0512, '5.1%'], [1, '100.0%']];
const PACKETS = [[1500, '1.50 kp/s']];
const reached = (no, yes) => [[0, no, 'red'], [1, yes, 'green']];

const LOOKS = {
  'traceflow.json': {
    'stat Targets reached': AMOUNT,
    'stat Targets not reached': [[0, '0', 'green'], [1, '1', 'red'], [1500, '1.50 K', 'red']],
    'stat Flows that do not arrive': [[0, '0', 'green'], [1, '1', 'orange'], [1500, '1.50 K', 'orange']],
    'stat Paths': AMOUNT,
    'stat Path changes in 24 h': COUNT,
    'stat Probes a second': PACKETS,
    'state-timeline Which targets are reached': reached('not reached', 'reached'),
    'table Targets': AMOUNT,
    'table Targets: Reached': reached('no', 'yes'),
    'table Targets: Flows lost': [[0, '0', 'transparent'], [1, '1', 'orange']],
    'table Targets: Loss': TENTHS,
    'table Targets: RTT (median)': TIME,
    'table Targets: Path changes in 24 h': COUNT,
    'table Targets: Last round': [[90, '2 mins']],
    'table Targets: Target': AMOUNT,
    'stat Last path change': WHEN,
    'stat Loss to the destination': [[0.009, '0.9%', 'green'], [0.05, '5.0%', 'orange'], [0.1, '10.0%', 'red']],
    'stat Confidence': TENTHS,
    'stat Nodes and links': AMOUNT,
    'stat Widest hop': AMOUNT,
    'stat Last round': [[90, '2 mins']],
    'state-timeline Reached, and by how many paths': [[4, '4', 'green']],
    'state-timeline Reached, and by how many paths: A': reached('not reached', 'reached'),
    'nodeGraph Route': [[1, '1']],
    'timeseries Paths': COUNT,
    'timeseries Hops': COUNT,
    'timeseries Flows': COUNT,
    'timeseries Changes by kind': COUNT,
    'heatmap RTT to the destination': AMOUNT,
    'timeseries Loss to the destination': SHARE,
    'xychart RTT over hops, now': TIME,
    'xychart RTT over hops, now: ttl': [[12, '12']],
    'timeseries RTT of each hop': TIME,
    'timeseries Loss at each hop': SHARE,
    'timeseries Loss at each hop: B': SHARE,
  },
  'traceflow_exporter.json': {
    'stat Scraped': AMOUNT,
    'stat Version': AMOUNT,
    'stat Configuration': reached('refused', 'in force'),
    'stat Configuration read': WHEN,
    'stat Running since': WHEN,
    'stat Targets': AMOUNT,
    'timeseries Rounds a second': [[1500, '1.50K ops/s']],
    'timeseries Rounds in progress': AMOUNT,
    'timeseries Delayed rounds': AMOUNT,
    'timeseries Longest rounds': TIME,
    'timeseries Most probes in a round': AMOUNT,
    'timeseries Probes and replies': PACKETS,
    'timeseries Probes by protocol': PACKETS,
    'timeseries Discarded replies': PACKETS,
    'timeseries Send errors': AMOUNT,
    'timeseries Receive drops': AMOUNT,
    'timeseries CPU': SHARE,
    'timeseries Memory': [[1536, '1.50 KiB']],
    'timeseries File descriptors': AMOUNT,
    'timeseries Scrape duration': TIME,
    'timeseries Series': AMOUNT,
    'timeseries Series withheld': AMOUNT,
  },
};

/** How each panel, and each column or query that differs, shows numbers. */
function looks(board) {
  return panels(board).flatMap(({ type, title, fieldConfig: { defaults = {}, overrides } }) => [
    [`${type} ${title}`, defaults],
    ...overrides.map(({ matcher, properties }) => [
      `${type} ${title}: ${matcher.options}`,
      { ...defaults, ...Object.fromEntries(properties.map(({ id, value }) => [id, value])) },
    ]),
  ]);
}

function problems(file, board) {
  const expected = LOOKS[file];
  const found = looks(board);
  const names = found.map(([name]) => name);
  const wrong = [...names.filter((name) => !(name in expected)), ...Object.keys(expected).filter((name) => !names.includes(name))];
  for (const [name, config] of found) {
    const show = getDisplayProcessor({ field: { type: FieldType.number, config }, theme });
    for (const [number, text, colour] of expected[name] ?? []) {
      const shown = show(number);
      const said = [shown.prefix, shown.text, shown.suffix].join('');
      if (said !== text) wrong.push(`${name}: ${number} is ${said}, not ${text}`);
      // What has no thresholds and no mapping is grey.
      const wanted = theme.visualization.getColorByName(colour ?? '#808080');
      if (shown.color !== wanted) wrong.push(`${name}: ${number} is ${shown.color}, not ${colour ?? 'grey'}`);
    }
  }
  // These two types have units of their own.
  for (const { type, options } of panels(board)) {
    if (type === 'heatmap' && (options.yAxis.unit !== 's' || options.calculate !== false)) wrong.push('the heatmap has no seconds, or other buckets');
    if (type === 'nodeGraph' && options.nodes.mainStatUnit !== 'ms') wrong.push('the route has no milliseconds');
  }
  return wrong;
}

for (const file of FILES) {
  test(`${file}: numbers look as they should`, () => assert.deepEqual(problems(file, dashboard(file)), []));
}

test('what looks wrong is told', () => {
  const panel = (board, title) => panels(board).find((candidate) => candidate.title === title);
  const damages = [
    (board) => { panel(board, 'RTT of each hop').fieldConfig.defaults.unit = 'bytes'; },
    (board) => { panel(board, 'RTT to the destination').options.yAxis.unit = 'bytes'; },
    (board) => { panel(board, 'RTT to the destination').options.calculate = true; },
    (board) => { panel(board, 'Route').options.nodes.mainStatUnit = 's'; },
    (board) => { delete panel(board, 'Targets not reached').fieldConfig.defaults.thresholds; },
    (board) => { panel(board, 'Targets not reached').fieldConfig.defaults.thresholds.steps.pop(); },
    (board) => {
      const { options } = panel(board, 'Which targets are reached').fieldConfig.defaults.mappings[0];
      [options[0], options[1]] = [options[1], options[0]];
    },
    (board) => { panel(board, 'Reached, and by how many paths').fieldConfig.overrides[0].properties.shift(); },
    (board) => { panel(board, 'Targets').fieldConfig.overrides.pop(); },
    (board) => { board.panels = board.panels.filter(({ title }) => title !== 'Hops'); },
  ];
  for (const damage of damages) {
    const board = dashboard('traceflow.json');
    damage(board);
    assert.notDeepEqual(problems('traceflow.json', board), [], `not seen: ${damage}`);
  }
});
