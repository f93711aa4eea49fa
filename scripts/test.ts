/**
 * `npm test`: everything that must hold, cheapest first, and one line of totals at the end.
 *
 *   npm test                     all checks, then all tests
 *   npm test -- packages/irqchip only the tests whose path contains one of the words (vitest's own options work, too)
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkImports, checkReferences } from './check-imports.ts';
import { checkPackages } from './check-packages.ts';
import { root, workspacePackages } from './workspace.ts';

type Totals = { passed: number; failed: number; skipped: number };

const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
const packages = workspacePackages();
const tool = (name: string): string => join(root, 'node_modules', '.bin', name);

function run(command: string, args: readonly string[]): boolean {
  const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1', TURBO_NO_UPDATE_NOTIFIER: '1' };
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env });
  if (result.error) console.log(String(result.error));
  return result.status === 0;
}

/** One check counts as one test. */
async function check(name: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  console.log(`\n# ${name}`);
  const started = performance.now();
  const ok = await holds();
  totals[ok ? 'passed' : 'failed'] += 1;
  console.log(`${ok ? 'ok' : 'FAILED'}: ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

function none(problems: readonly string[]): boolean {
  for (const problem of problems) console.log(problem);
  return problems.length === 0;
}

async function checks(): Promise<void> {
  await check('formatting and lint (Biome)', () => run(tool('biome'), ['check', '--no-errors-on-unmatched']));
  await check('imports follow the architecture', () => none(checkImports(packages)));
  await check('project references agree with the manifests', () => none(checkReferences(packages, false)));
  await check('types (tsc -b)', () => run(tool('tsc'), ['-b', ...packages.map(({ folder }) => folder)]));
  await check('every package builds (tsup)', () =>
    run(tool('turbo'), ['run', 'build', '--output-logs=new-only', '--concurrency=2', '--continue', '--ui=stream']),
  );
  await check('every package can be published (publint, attw)', async () =>
    none((await checkPackages(packages)).flatMap(({ problems }) => problems)),
  );
}

type VitestReport = {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  success: boolean;
};

/** vitest prints its progress as it goes; the numbers come from its JSON report. */
function tests(filters: readonly string[]): void {
  console.log('\n# tests (vitest)');
  const folder = mkdtempSync(join(tmpdir(), 'tsvisor-test-'));
  const file = join(folder, 'report.json');
  const ok = run(tool('vitest'), ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, ...filters]);
  try {
    const report = JSON.parse(readFileSync(file, 'utf8')) as VitestReport;
    totals.passed += report.numPassedTests;
    totals.failed += report.numFailedTests;
    totals.skipped += report.numPendingTests + report.numTodoTests;
    // A file that cannot be loaded has no tests to count, but it is a failure all the same.
    if (!ok && report.numFailedTests === 0) totals.failed += 1;
  } catch {
    console.log('vitest left no report');
    totals.failed += 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const filters = process.argv.slice(2);
if (filters.length === 0) await checks();
tests(filters);
console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;
