import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { oneLine, RunnerError } from '../errors.ts';
import type { DebianArch } from '../options.ts';

export type CommandResult = { readonly status: number; readonly stdout: string; readonly stderr: string };
/** Runs a program of the host and gathers its output. Rejects only when it cannot be started. */
export type RunCommand = (command: string, args: readonly string[], cwd?: string) => Promise<CommandResult>;

export const runCommand: RunCommand = (command, args, cwd) =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
      ...(cwd === undefined ? {} : { cwd }),
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (status) => resolve({ status: status ?? 1, stdout, stderr }));
  });

/** Pauses before another try, milliseconds: a mirror in the middle of a synchronisation is whole again after seconds. */
const RETRY_PAUSES = [0, 2000, 5000];

/**
 * The host's apt with state, cache and lists of its own, for one architecture. Needs no root, changes nothing of the host's; takes the
 * host's package sources and keys, because those are what its owner trusts.
 */
export class PrivateApt {
  readonly #folder: string;
  readonly #config: string;
  readonly #run: RunCommand;
  readonly #pauses: readonly number[];

  constructor(folder: string, arch: DebianArch, run: RunCommand = runCommand, pauses: readonly number[] = RETRY_PAUSES) {
    this.#folder = folder;
    this.#run = run;
    this.#pauses = pauses;
    this.#config = join(folder, 'apt.conf');
    for (const path of ['state/lists/partial', 'cache/archives/partial', 'debs'])
      mkdirSync(join(folder, path), { recursive: true });
    writeFileSync(this.#config, configText(folder, arch));
  }

  /**
   * Downloads the first of the packages that `candidates` finds and apt can bring.
   * @param candidates package names in order of preference, asked again after each update of the index
   * @returns the path of the .deb
   */
  async fetch(wanted: string, candidates: () => Promise<readonly string[]>): Promise<string> {
    let lastError = `the host's package sources have no ${wanted}`;
    for (const pause of this.#pauses) {
      for (const name of await candidates()) {
        const result = await this.#apt('apt-get', ['-q', 'download', name], join(this.#folder, 'debs'));
        const prefix = `${name.split('=')[0]}_`;
        const file = readdirSync(join(this.#folder, 'debs')).find((entry) => entry.startsWith(prefix) && entry.endsWith('.deb'));
        if (result.status === 0 && file !== undefined) return join(this.#folder, 'debs', file);
        lastError = `cannot download ${name}: ${aptMessage(result.stderr)}`;
      }
      await sleep(pause);
      const update = await this.#apt('apt-get', ['-q', 'update']);
      // Not fatal by itself: an index in the middle of its synchronisation fails alone, and another may have what is needed.
      if (update.status !== 0 && /^E: /m.test(update.stderr) && !/ignored, or old ones used/.test(update.stderr))
        lastError = aptMessage(update.stderr);
    }
    throw new RunnerError('RUNNER_FETCH', `${lastError}; pass --kernel FILE (bzImage or vmlinux) and --initrd FILE instead`);
  }

  /** The records of a package's versions, newest first: `Package`, `Version`, `Depends`, … */
  async show(name: string): Promise<Map<string, string>[]> {
    const { stdout } = await this.#apt('apt-cache', ['show', name]);
    return parseRecords(stdout);
  }

  async #apt(command: 'apt-get' | 'apt-cache', args: readonly string[], cwd?: string): Promise<CommandResult> {
    try {
      return await this.#run(command, ['-c', this.#config, ...args], cwd);
    } catch (error) {
      throw new RunnerError(
        'RUNNER_NO_APT',
        `no kernel given, and this host has no ${command} to fetch Debian's: pass --kernel FILE (bzImage or vmlinux) and --initrd FILE`,
        { cause: error },
      );
    }
  }
}

/** Read after the host's own configuration (apt.conf(5)), so that what is cleared here stays cleared. */
function configText(folder: string, kernel: DebianArch): string {
  const arch = kernel === 'amd64' ? 'amd64' : 'i386';
  const quote = (text: string): string => `"${text.replaceAll('"', '')}"`;
  return [
    '#clear APT::Update::Pre-Invoke;',
    '#clear APT::Update::Post-Invoke;',
    '#clear APT::Update::Post-Invoke-Success;',
    '#clear Acquire::IndexTargets;',
    '#clear APT::Architectures;',
    // Removed with the rest: what a package index is.
    'Acquire::IndexTargets::deb::Packages { MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";',
    '  flatMetaKey "Packages"; ShortDescription "Packages"; Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";',
    '  flatDescription "$(RELEASE) Packages"; Optional "0"; };',
    `APT::Architecture ${quote(arch)};`,
    `APT::Architectures { ${quote(arch)}; };`,
    `Dir::State ${quote(join(folder, 'state'))};`,
    'Dir::State::status "/dev/null";',
    `Dir::Cache ${quote(join(folder, 'cache'))};`,
    'Acquire::Languages "none";',
    'Acquire::Retries "2";',
    // Started by root, apt would switch to a user that cannot enter root's cache folder.
    'APT::Sandbox::User "root";',
    '',
  ].join('\n');
}

/** Paragraphs of "Field: value" lines with continuation lines, Debian Policy §5.1. */
export function parseRecords(text: string): Map<string, string>[] {
  return text
    .split(/\n{2,}/)
    .map(
      (paragraph) => new Map([...paragraph.matchAll(/^([A-Za-z0-9-]+):[ \t]*(.*)$/gm)].map(([, field, value]) => [field, value])),
    )
    .filter((record) => record.has('Package'));
}

/** The first error of apt's output, as one line. */
function aptMessage(stderr: string): string {
  const line = stderr.split('\n').find((text) => text.startsWith('E: ')) ?? stderr;
  return oneLine(line.replace(/^E: /, '')) || 'apt failed without a message';
}
