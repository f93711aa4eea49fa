/** Control-flow graphs of regions: reverse postorder, dominators, loops; what structured code generation needs to know. */

/** Node 0 is a virtual root whose successors are the region's entries; blocks follow. */
export type FlowGraph = {
  /** Nodes in reverse postorder; unreachable ones are missing. */
  readonly order: readonly number[];
  /** Position in `order`. */
  readonly position: readonly number[];
  /** Immediate dominator; the root's is itself. */
  readonly idom: readonly number[];
  readonly successors: readonly (readonly number[])[];
  /** Targets of back edges. */
  readonly loops: ReadonlySet<number>;
  /** Nodes on the way from a loop's head back to it. */
  readonly looping: ReadonlySet<number>;
  /** Nodes that more than one forward edge reaches, and entries: they get a label of their own. */
  readonly merges: ReadonlySet<number>;
  /** Edges that a structured branch cannot take (irreducible flow), as `from * size + to`: they go through the root. */
  readonly dispatched: ReadonlySet<number>;
  /** Nodes the root enters: the given entries and targets of dispatched edges. */
  readonly entries: readonly number[];
};

export const ROOT = 0;

/** Analyses a graph. Irreducible edges are taken out and their targets made entries until none is left. */
export function analyse(size: number, edges: readonly (readonly number[])[], entries: readonly number[]): FlowGraph {
  const allEntries = new Set(entries);
  const dispatched = new Set<number>();
  for (;;) {
    const successors = edges.map((list, from) => list.filter((to) => !dispatched.has(from * size + to)));
    successors[ROOT] = [...allEntries];
    const order = reversePostorder(size, successors);
    const position = new Array<number>(size).fill(-1);
    order.forEach((node, n) => {
      position[node] = n;
    });
    const idom = dominators(order, position, successors);
    const dominates = (a: number, b: number): boolean => {
      let node = b;
      while (node !== a && node !== ROOT) node = idom[node];
      return node === a;
    };
    let reducible = true;
    const loops = new Set<number>();
    const forward = new Array<number>(size).fill(0);
    for (const from of order) {
      for (const to of successors[from]) {
        if (position[to] > position[from]) forward[to]++;
        else if (dominates(to, from)) loops.add(to);
        else {
          dispatched.add(from * size + to);
          allEntries.add(to);
          reducible = false;
        }
      }
    }
    if (!reducible) continue;
    const merges = new Set(order.filter((node) => node !== ROOT && (forward[node] > 1 || allEntries.has(node))));
    return {
      order,
      position,
      idom,
      successors,
      loops,
      looping: loopBodies(order, position, successors, loops),
      merges,
      dispatched,
      entries: [...allEntries],
    };
  }
}

/** Nodes from which a back edge to a loop's head can be reached without passing the head: the natural loops' bodies. */
function loopBodies(
  order: readonly number[],
  position: readonly number[],
  successors: readonly (readonly number[])[],
  loops: ReadonlySet<number>,
): ReadonlySet<number> {
  const predecessors = predecessorsOf(order, successors);
  const all = new Set<number>();
  for (const head of loops) {
    const body = new Set([head]);
    const open = (predecessors.get(head) ?? []).filter((from) => position[from] >= position[head]);
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      if (body.has(node)) continue;
      body.add(node);
      open.push(...(predecessors.get(node) ?? []));
    }
    for (const node of body) all.add(node);
  }
  return all;
}

function predecessorsOf(order: readonly number[], successors: readonly (readonly number[])[]): Map<number, number[]> {
  const predecessors = new Map<number, number[]>(order.map((node) => [node, []]));
  for (const from of order) for (const to of successors[from]) predecessors.get(to)?.push(from);
  return predecessors;
}

function reversePostorder(size: number, successors: readonly (readonly number[])[]): number[] {
  const seen = new Uint8Array(size);
  const order: number[] = [];
  const stack: { node: number; next: number }[] = [{ node: ROOT, next: 0 }];
  seen[ROOT] = 1;
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const to = successors[top.node][top.next++];
    if (to === undefined) {
      order.push(top.node);
      stack.pop();
    } else if (!seen[to]) {
      seen[to] = 1;
      stack.push({ node: to, next: 0 });
    }
  }
  return order.reverse();
}

/** Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm". */
function dominators(order: readonly number[], position: readonly number[], successors: readonly (readonly number[])[]): number[] {
  const predecessors = predecessorsOf(order, successors);
  const idom = new Array<number>(position.length).fill(-1);
  idom[ROOT] = ROOT;
  const meet = (left: number, right: number): number => {
    let [a, b] = [left, right];
    while (a !== b) {
      while (position[a] > position[b]) a = idom[a];
      while (position[b] > position[a]) b = idom[b];
    }
    return a;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of order) {
      if (node === ROOT) continue;
      let dominator = -1;
      for (const from of predecessors.get(node) ?? []) {
        if (idom[from] < 0) continue;
        dominator = dominator < 0 ? from : meet(from, dominator);
      }
      if (idom[node] === dominator) continue;
      idom[node] = dominator;
      changed = true;
    }
  }
  return idom;
}
