import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FlowGraph } from './graph.ts';
import { analyse, ROOT } from './graph.ts';

/** Nodes that can be reached from the root, without passing `removed`. */
function reachable(successors: FlowGraph['successors'], removed = -1): Set<number> {
  const seen = new Set<number>();
  const waiting = removed === ROOT ? [] : [ROOT];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (seen.has(node) || node === removed) continue;
    seen.add(node);
    waiting.push(...successors[node]);
  }
  return seen;
}

/** By definition: a dominates b if b cannot be reached without a. */
const dominates = (graph: FlowGraph, a: number, b: number): boolean => a === b || !reachable(graph.successors, a).has(b);

describe('flow graphs of regions', () => {
  it('a straight line has no loops, no merges but its entry', () => {
    const graph = analyse(4, [[], [2], [3], []], [1]);
    expect(graph.order).toEqual([0, 1, 2, 3]);
    expect(graph.idom.slice(1)).toEqual([0, 1, 2]);
    expect([...graph.loops]).toEqual([]);
    expect([...graph.merges]).toEqual([1]);
  });

  it('both ways round an if meet in a merge, which its head dominates', () => {
    const graph = analyse(5, [[], [2, 3], [4], [4], []], [1]);
    expect(graph.idom[4]).toBe(1);
    expect(graph.merges.has(4)).toBe(true);
    expect(graph.merges.has(2)).toBe(false);
  });

  it('the target of a back edge is a loop', () => {
    const graph = analyse(4, [[], [2], [3, 1], []], [1]);
    expect([...graph.loops]).toEqual([1]);
    expect(graph.dispatched.size).toBe(0);
  });

  it('a loop with two entrances is irreducible: an edge goes through the root', () => {
    const graph = analyse(4, [[], [2, 3], [3], [2]], [1]);
    expect(graph.dispatched.size).toBeGreaterThan(0);
    expect(graph.entries.length).toBeGreaterThan(1);
  });

  it('a block that nothing reaches is not in the order', () => {
    const graph = analyse(4, [[], [2], [], [2]], [1]);
    expect(graph.order).not.toContain(3);
  });
});

const edges = (size: number) =>
  fc.array(fc.array(fc.integer({ min: 1, max: size - 1 }), { maxLength: 2 }), { minLength: size, maxLength: size });
const graphs = fc.integer({ min: 2, max: 12 }).chain((size) =>
  fc.record({
    size: fc.constant(size),
    edges: edges(size).map((all) => all.map((list, n) => (n === ROOT ? [] : [...new Set(list)]))),
    entries: fc.uniqueArray(fc.integer({ min: 1, max: size - 1 }), { minLength: 1, maxLength: 3 }),
  }),
);

describe('any flow graph', () => {
  it('is covered: every node that the entries reach is in the order once, predecessors first but for back edges', () => {
    fc.assert(
      fc.property(graphs, ({ size, edges: given, entries }) => {
        const graph = analyse(size, given, entries);
        const original = given.map((list, n) => (n === ROOT ? entries : list));
        expect([...graph.order].sort((a, b) => a - b)).toEqual([...reachable(original)].sort((a, b) => a - b));
        graph.order.forEach((node, n) => expect(graph.position[node]).toBe(n));
        for (const from of graph.order) {
          for (const to of graph.successors[from])
            expect(graph.position[to] > graph.position[from] || graph.loops.has(to), `${from} to ${to}`).toBe(true);
        }
      }),
    );
  });

  it('has the immediate dominators of the definition', () => {
    fc.assert(
      fc.property(graphs, ({ size, edges: given, entries }) => {
        const graph = analyse(size, given, entries);
        for (const node of graph.order.filter((n) => n !== ROOT)) {
          const strict = graph.order.filter((a) => a !== node && dominates(graph, a, node));
          // The immediate one is dominated by all others.
          const nearest = strict.find((a) => strict.every((b) => dominates(graph, b, a)));
          expect(graph.idom[node]).toBe(nearest);
        }
      }),
    );
  });

  it('is reducible once the dispatched edges are out: every back edge goes to a dominator', () => {
    fc.assert(
      fc.property(graphs, ({ size, edges: given, entries }) => {
        const graph = analyse(size, given, entries);
        for (const from of graph.order) {
          for (const to of graph.successors[from])
            if (graph.position[to] <= graph.position[from]) expect(dominates(graph, to, from)).toBe(true);
        }
        for (const edge of graph.dispatched) {
          expect(given[Math.floor(edge / size)]).toContain(edge % size);
          expect(graph.entries).toContain(edge % size);
        }
      }),
    );
  });

  it('loops where a node can be reached from itself', () => {
    fc.assert(
      fc.property(graphs, ({ size, edges: given, entries }) => {
        const graph = analyse(size, given, entries);
        const comesBack = (node: number): boolean => {
          const seen = new Set<number>();
          const waiting = [...graph.successors[node]];
          for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
            if (next === node) return true;
            if (seen.has(next)) continue;
            seen.add(next);
            waiting.push(...graph.successors[next]);
          }
          return false;
        };
        for (const node of graph.order) expect(graph.looping.has(node), `${node}`).toBe(comesBack(node));
      }),
    );
  });

  it('has a label where more than one forward edge, or the root, arrives', () => {
    fc.assert(
      fc.property(graphs, ({ size, edges: given, entries }) => {
        const graph = analyse(size, given, entries);
        for (const node of graph.order.filter((n) => n !== ROOT)) {
          const forward = graph.order.flatMap((from) =>
            graph.successors[from].filter((to) => to === node && graph.position[from] < graph.position[node]),
          );
          expect(graph.merges.has(node)).toBe(forward.length > 1 || graph.entries.includes(node));
        }
      }),
    );
  });
});
