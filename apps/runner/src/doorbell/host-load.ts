import { cpus } from 'node:os';

const MS_PER_US = 1e-3;

/** Milliseconds of all processors together: in use, in use by this process, and there. */
function spent(withNice: boolean) {
  const { user: ownUser, system } = process.cpuUsage();
  let [used, all] = [0, 0];
  for (const { times } of cpus()) {
    const { user, nice, sys, irq, idle } = times;
    used += user + (withNice ? nice : 0) + sys + irq;
    all += user + nice + sys + irq + idle;
  }
  return { used, own: (ownUser + system) * MS_PER_US, all };
}

/** From now on; what it returns says what share of the host's processors, 0 to 1, other programs have used since, with or without those of low priority. */
export function watchOthers(withNice: boolean): () => number {
  const before = spent(withNice);
  return () => {
    const { used, own, all } = spent(withNice);
    const others = used - before.used - (own - before.own);
    return Math.min(Math.max(others / Math.max(all - before.all, 1), 0), 1);
  };
}
