// PromQL as a tree: what the rules about queries ask. The parser is the one of Prometheus' own pages.
import { interpolate, load } from './dashboards.mjs';

const { parser } = load('@prometheus-io/lezer-promql');

/** What Grafana's variables about time are in a query that is only parsed. */
export const PARSED = { __rate_interval: '17m', __interval: '18m', __range: '19m' };

/** The tree of a query; throws where it is none. */
export function parse(expression) {
  const text = interpolate(expression, PARSED);
  const tree = parser.parse(text);
  tree.iterate({
    enter(node) {
      if (node.type.isError) throw new Error(`no PromQL at ${node.from}: ${text.slice(node.from, node.from + 40)}`);
    },
  });
  return { text, tree };
}

/** All vector selectors: metric, matchers, and the range and the function around where there are any. */
export function selectors(expression) {
  const { text, tree } = parse(expression);
  const of = (node) => text.slice(node.from, node.to);
  const found = [];
  tree.iterate({
    enter({ node }) {
      if (node.name !== 'VectorSelector') return;
      const metric = node.getChild('Identifier');
      const list = node.getChild('LabelMatchers');
      const matchers = list ? list.getChildren('UnquotedLabelMatcher').map((matcher) => of(matcher).replace(/\s/g, '')) : [];
      const matrix = node.parent?.name === 'MatrixSelector' ? node.parent : null;
      const call = matrix?.parent?.name === 'FunctionCallBody' ? matrix.parent.parent : null;
      found.push({
        text: of(node),
        metric: metric ? of(metric) : '',
        matchers,
        range: matrix ? of(matrix).match(/\[(.*)\]$/)?.[1] : null,
        call: call ? of(call.getChild('FunctionIdentifier')) : null,
      });
    },
  });
  return found;
}
