/**
 * Takes a fresh clone, with nothing but Node 20 and npm, to a command that runs under the pinned Node 24.
 *
 *   node scripts/bootstrap.mjs start|tsvisor|test|bench|exec ARGS…
 *
 * Installs with the pinned pnpm when the lockfile changed, generates what packages generate when sources changed, then hands over.
 * When there is nothing to do it costs a directory scan. Plain JavaScript without dependencies: it runs before there are any.
 * Standard output belongs to the command; everything said here goes to standard error.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...path) => join(root, ...path);
const pinnedNode = at('node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
const say = (text) => process.stderr.write(`tsvisor: ${text}\n`);

/** One line and a status, never a stack trace: the reader of this message has just cloned the repository. */
function fail(text, status = 2) {
  say(text);
  process.exit(status);
}

/** Runs a step whose output is progress: all of it goes to standard error. */
function step(command, args, env = process.env) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], env, shell: process.platform === 'win32' });
  if (result.error) fail(`cannot run ${command}: ${result.error.message}`);
  if (result.signal) fail(`interrupted (${result.signal})`, 128 + (constants.signals[result.signal] ?? 0));
  return result.status;
}

const readStamp = (path) => (existsSync(path) ? readFileSync(path, 'utf8') : '');

function writeStamp(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

function install() {
  const stamp = at('node_modules', '.tsvisor-installed');
  const hash = createHash('sha256')
    .update(readFileSync(at('pnpm-lock.yaml')))
    .update(readFileSync(at('pnpm-workspace.yaml')));
  const wanted = hash.digest('hex');
  if (readStamp(stamp) === wanted && existsSync(pinnedNode)) return;
  const pnpm = readJson(at('package.json')).packageManager;
  say(`installing dependencies with ${pnpm} (first run, or the lockfile changed)`);
  const status = step('npx', ['--yes', '--loglevel=error', pnpm, 'install', '--frozen-lockfile', '--reporter=append-only']);
  if (status !== 0) fail(`the installation failed (status ${status}); is the package registry reachable?`);
  if (!existsSync(pinnedNode)) fail(`the installation brought no Node at ${pinnedNode}`);
  writeStamp(stamp, wanted);
}

/** Path, time and size of every source file: cheap to collect, and different after any edit. */
function sourceState(folder, lines) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      sourceState(path, lines);
    } else if (!entry.name.endsWith('.test.ts')) {
      const { mtimeMs, size } = statSync(path);
      lines.push(`${path} ${mtimeMs} ${size}`);
    }
  }
  return lines;
}

/** Packages are used from their sources; only those with a `generate` script have something to make first. */
function generate() {
  const folders = ['packages', 'apps'].filter((name) => existsSync(at(name)));
  const packages = folders.flatMap((name) => readdirSync(at(name)).map((entry) => at(name, entry)));
  const manifests = packages.map((path) => join(path, 'package.json')).filter(existsSync);
  const generating = manifests.filter((path) => readJson(path).scripts?.generate).map((path) => dirname(path));
  if (generating.length === 0) return;

  const sources = packages.map((path) => join(path, 'src')).filter(existsSync);
  const state = sources.flatMap((path) => sourceState(path, [])).join('\n');
  const wanted = createHash('sha256').update(state).digest('hex');
  const stamp = at('.cache', 'generated.stamp');
  if (readStamp(stamp) === wanted && generating.every((path) => existsSync(join(path, 'generated')))) return;
  say('generating (sources changed)');
  const status = step(pinnedNode, [at('node_modules', 'turbo', 'bin', 'turbo'), 'run', 'generate', '--output-logs=errors-only'], {
    ...commandEnvironment(),
    TURBO_TELEMETRY_DISABLED: '1',
    TURBO_NO_UPDATE_NOTIFIER: '1',
  });
  if (status !== 0) fail(`generating failed (status ${status})`);
  writeStamp(stamp, wanted);
}

/** The pinned Node and the repository's tools come first; V8 keeps compiled (and type-stripped) sources between runs. */
function commandEnvironment() {
  return {
    ...process.env,
    PATH: [dirname(pinnedNode), at('node_modules', '.bin'), process.env.PATH].join(delimiter),
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? at('.cache', 'compile'),
    // V8's compilers allocate on several threads; glibc would keep what each of them once needed, up to 200 MB.
    MALLOC_ARENA_MAX: process.env.MALLOC_ARENA_MAX ?? '2',
  };
}

function runnerEntry() {
  const manifest = at('apps', 'runner', 'package.json');
  const command = existsSync(manifest) ? readJson(manifest).bin?.tsvisor : undefined;
  if (!command) fail('apps/runner does not provide the tsvisor command');
  return at('apps', 'runner', command.replace(/^(\.\/)?dist\//, 'src/').replace(/\.js$/, '.ts'));
}

const targets = {
  start: () => [runnerEntry(), 'run'],
  tsvisor: () => [runnerEntry()],
  test: () => [at('scripts', 'test.ts')],
  bench: () => [at('bench', 'src', 'main.ts')],
  exec: () => [],
};

/** Hands over: the child has the terminal, gets the signals sent to us, and its end is our end. */
function handOver(target, args) {
  const command = ['--conditions=tsvisor-source', ...targets[target](), ...args];
  const child = spawn(pinnedNode, command, { stdio: 'inherit', env: commandEnvironment() });
  // A terminal sends SIGINT and SIGQUIT to the whole process group; forwarding them would deliver them twice.
  for (const signal of ['SIGINT', 'SIGQUIT']) process.on(signal, () => process.stdin.isTTY || child.kill(signal));
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGCONT']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => fail(`cannot run ${pinnedNode}: ${error.message}`));
  child.on('exit', (status, signal) => {
    if (signal === null) process.exit(status ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    setTimeout(() => process.exit(128 + (constants.signals[signal] ?? 0)), 100);
  });
}

const [target, ...args] = process.argv.slice(2);
if (!Object.hasOwn(targets, target ?? '')) fail(`usage: bootstrap.mjs ${Object.keys(targets).join('|')} ARGS`);
if (Number(process.versions.node.split('.')[0]) < 20) fail(`Node 20 or newer is needed, this is ${process.versions.node}`);
install();
generate();
handOver(target, args);
