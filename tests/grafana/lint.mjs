// The rules of Grafana's dashboard-linter, by its names; each returns what is wrong. Stricter where that costs nothing: titles, descriptions
// and units are wanted of panels of all types, variables of annotations and of other variables as well.
import { annotations, interpolate, load, panels, queries, variables } from './dashboards.mjs';
import { PARSED, parse, selectors } from './promql.mjs';

const { getValueFormats } = load('@grafana/data');
const UNITS = new Set(getValueFormats().flatMap((group) => group.submenu.map((unit) => unit.value)));
/** Types of panels whose units stand elsewhere; see the types of their options. */
const OWN_UNITS = new Set(['nodeGraph']);
const COUNTED = ['rate', 'irate', 'increase'];

function datasource(board) {
  return board.templating.list.filter((variable) => variable.type === 'datasource');
}

function isTemplated(reference) {
  return ['$datasource', '${datasource}'].includes(reference?.uid) && reference.type === 'prometheus';
}

/** A variable that chooses among values of a label, several of them or all. */
function chooser(board, name, label) {
  const found = board.templating.list.find((variable) => variable.name === name);
  if (!found) return [`no variable ${name}`];
  const problems = [];
  if (!isTemplated(found.datasource)) problems.push(`variable ${name} does not use the data source that is chosen`);
  if (found.type !== 'query') problems.push(`variable ${name} is no query`);
  if (found.label !== label) problems.push(`variable ${name} is labelled ${found.label}, not ${label}`);
  if (found.multi !== true) problems.push(`variable ${name} does not take several values`);
  if (found.allValue !== '.+') problems.push(`all values of ${name} are not .+`);
  return problems;
}

/** Every expression: of panels, annotations, and inside label_values(). */
function expressions(board) {
  return [
    ...queries(board).map(({ where, target }) => ({ where, expression: target.expr ?? '' })),
    ...annotations(board).map((annotation) => ({ where: `annotation ${annotation.name}`, expression: annotation.target?.expr ?? '' })),
  ];
}

/** What `check` says of each selector; a query that is no PromQL is told by another rule. */
function eachSelector(board, check) {
  return expressions(board).flatMap(({ where, expression }) => {
    let found = [];
    try {
      found = selectors(expression);
    } catch {
      return [];
    }
    return found.flatMap((selector) => check(selector) ?? []).map((problem) => `${where}: ${problem}`);
  });
}

const wantsMatcher = (label) => (board) =>
  eachSelector(board, ({ text, matchers }) =>
    matchers.includes(`${label}=~"$${label}"`) ? [] : [`${text} lacks ${label}=~"$${label}"`],
  );

/** The query inside a variable's label_values(query, label) and that label. */
export function labelValues(variable) {
  return (variable.query?.query ?? '').match(/^label_values\((.+),\s*(\w+)\)$/)?.slice(1) ?? null;
}

/** There are no logs here: whatever asks for them, or by their means, is wrong. */
const noLogs = (wrong) => (board) => queries(board).filter(({ target }) => wrong(target)).map(({ where }) => `${where}: LogQL`);

export const RULES = {
  'template-datasource-rule'(board) {
    const [only, ...others] = datasource(board);
    if (!only || others.length > 0) return ['there is not one variable for the data source'];
    return only.name === 'datasource' && only.label === 'Data source' && only.query === 'prometheus'
      ? []
      : [`the variable for the data source is ${only.name}, labelled ${only.label}, of ${only.query}`];
  },
  'template-job-rule': (board) => chooser(board, 'job', 'Job'),
  'template-instance-rule': (board) => chooser(board, 'instance', 'Instance'),
  'template-label-promql-rule'(board) {
    return variables(board).flatMap((variable) => {
      const [expression] = labelValues(variable) ?? [];
      if (!expression) return [`variable ${variable.name} is not label_values(query, label)`];
      try {
        parse(expression);
        return [];
      } catch (error) {
        return [`variable ${variable.name}: ${error.message}`];
      }
    });
  },
  'template-on-time-change-reload-rule'(board) {
    return variables(board).filter(({ refresh }) => refresh !== 2).map(({ name }) => `variable ${name} stays when the time range changes`);
  },
  'panel-datasource-rule'(board) {
    const named = [
      ...panels(board).map((panel) => [`panel "${panel.title}"`, panel.datasource]),
      ...queries(board).map(({ where, target }) => [where, target.datasource]),
      ...annotations(board).map((annotation) => [`annotation ${annotation.name}`, annotation.datasource]),
    ];
    return named.filter(([, reference]) => !isTemplated(reference)).map(([where]) => `${where} does not use the data source that is chosen`);
  },
  'panel-title-description-rule'(board) {
    return panels(board).filter(({ title, description }) => !title?.trim() || !description?.trim()).map(({ id, title }) => `panel ${id}, "${title}", lacks title or description`);
  },
  'panel-units-rule'(board) {
    const overridden = (panel) => (panel.fieldConfig?.overrides ?? []).flatMap(({ properties }) => properties).filter(({ id }) => id === 'unit').map(({ value }) => value);
    return panels(board)
      .filter(({ type }) => !OWN_UNITS.has(type))
      .flatMap((panel) => [panel.fieldConfig?.defaults?.unit ?? '', ...overridden(panel)].filter((unit) => !UNITS.has(unit)).map((unit) => `panel "${panel.title}": the unit "${unit}"`));
  },
  'panel-no-targets-rule'(board) {
    return panels(board).filter(({ targets }) => !targets?.length).map(({ title }) => `panel "${title}" asks nothing`);
  },
  'target-logql-rule': noLogs((target) => target.datasource?.type === 'loki'),
  'target-logql-auto-rule': noLogs((target) => /\$__auto|\|[=~]\s/.test(target.expr ?? '')),
  'target-promql-rule'(board) {
    return expressions(board).flatMap(({ where, expression }) => {
      try {
        if (!expression.trim()) return [`${where}: empty`];
        parse(expression);
        return [];
      } catch (error) {
        return [`${where}: ${error.message}`];
      }
    });
  },
  'target-rate-interval-rule'(board) {
    return eachSelector(board, ({ text, range, call }) => (['rate', 'irate'].includes(call) && range !== PARSED.__rate_interval ? [`${text} over ${range}, not $__rate_interval`] : []));
  },
  'target-job-rule': wantsMatcher('job'),
  'target-instance-rule': wantsMatcher('instance'),
  'target-counter-agg-rule'(board) {
    return eachSelector(board, ({ metric, call }) => (metric.endsWith('_total') && !COUNTED.includes(call) ? [`the counter ${metric} is not in ${COUNTED.join(', ')}`] : []));
  },
  'uneditable-dashboard'(board) {
    return board.editable === false ? [] : ['what is changed in the browser is lost: editable must be false'];
  },
};

/** What this project wants besides: references that lead somewhere, and places of panels that do not overlap. */
export const OWN = {
  'unknown-variables'(board) {
    const known = Object.fromEntries([...board.templating.list.map(({ name }) => name), '__rate_interval'].map((name) => [name, '']));
    const texts = [...expressions(board), ...panels(board).map(({ title }) => ({ where: `title "${title}"`, expression: title }))];
    // A regular expression's groups have numbers.
    return texts.flatMap(({ where, expression }) => (interpolate(expression, known).match(/\$\{?[a-z_]\w*/gi) ?? []).map((name) => `${where}: there is no ${name}`));
  },
  'unused-variables'(board) {
    const text = JSON.stringify([board.panels, board.annotations, variables(board).map(({ query }) => query)]);
    return board.templating.list.filter(({ name }) => !new RegExp(`\\$\\{?${name}\\b`).test(text)).map(({ name }) => `nothing uses the variable ${name}`);
  },
  'unique-ids'(board) {
    const ids = board.panels.map(({ id }) => id);
    return ids.filter((id, index) => ids.indexOf(id) !== index).map((id) => `two panels have the number ${id}`);
  },
  // What a panel of another type would not make sense of.
  'formats'(board) {
    const wanted = { heatmap: 'heatmap', nodeGraph: 'table', table: 'table', xychart: 'table' };
    return queries(board)
      .filter(({ panel, target }) => target.format !== wanted[panel.type] || (target.format === 'heatmap' && target.legendFormat !== '{{le}}'))
      .map(({ where, panel, target }) => `${where}: a ${panel.type} of the format ${target.format}, with the legend ${target.legendFormat}`);
  },
  'grid'(board) {
    const taken = new Map();
    return board.panels.flatMap(({ id, gridPos: { x, y, w, h } }) => {
      const problems = x + w > 24 ? [`panel ${id} is wider than the page`] : [];
      for (let row = y; row < y + h; row += 1) {
        for (let column = x; column < x + w; column += 1) {
          const cell = `${column},${row}`;
          if (taken.has(cell)) return [...problems, `panels ${taken.get(cell)} and ${id} overlap`];
          taken.set(cell, id);
        }
      }
      return problems;
    });
  },
};
