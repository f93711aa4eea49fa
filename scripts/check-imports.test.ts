import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkImports, checkReferences, importsOf } from './check-imports.ts';
import { workspacePackages } from './workspace.ts';

let base: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tsvisor-imports-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

function put(path: string, content: string | object): void {
  mkdirSync(dirname(join(base, path)), { recursive: true });
  writeFileSync(join(base, path), typeof content === 'string' ? content : JSON.stringify(content));
}

function putPackage(folder: string, dependencies: readonly string[], source: string, file = 'src/index.ts'): void {
  const entries = dependencies.map((name) => [name, name.startsWith('@tsvisor/') ? 'workspace:*' : '1.0.0']);
  put(`${folder}/package.json`, { name: `@tsvisor/${folder.split('/')[1]}`, dependencies: Object.fromEntries(entries) });
  put(`${folder}/${file}`, source);
}

const problems = (): string[] => checkImports(workspacePackages(base), base);

describe('the import check', () => {
  it('accepts what the table allows, and state-layout everywhere', () => {
    putPackage('packages/wasm-codegen', [], 'export {};');
    putPackage('packages/state-layout', [], 'export {};');
    putPackage(
      'packages/x86-cpu',
      ['@tsvisor/wasm-codegen', '@tsvisor/state-layout'],
      "import '@tsvisor/wasm-codegen';\nexport type { Layout } from '@tsvisor/state-layout';\n",
    );
    expect(problems()).toEqual([]);
  });

  it.each([
    ['an import', "import { Bus } from '@tsvisor/io-bus';"],
    ['a type-only import', "import type { Bus } from '@tsvisor/io-bus';"],
    ['a re-export', "export * from '@tsvisor/io-bus';"],
    ['a re-export under a name', "export * as bus from '@tsvisor/io-bus';"],
    ['an import type', "type Bus = import('@tsvisor/io-bus').Bus;"],
    ['a dynamic import', "const bus = await import('@tsvisor/io-bus');"],
  ])('refuses %s that the table does not allow, even when it is declared', (_kind, source) => {
    putPackage('packages/io-bus', [], 'export {};');
    putPackage('packages/irqchip', ['@tsvisor/io-bus'], `\n${source}`);
    expect(problems()).toEqual([
      "packages/irqchip/src/index.ts:2: packages/irqchip may not import '@tsvisor/io-bus' (ARCHITECTURE.md)",
    ]);
  });

  it('refuses an undeclared import and an unused declaration', () => {
    putPackage('packages/boot', ['fzstd'], "import 'fflate';");
    expect(problems()).toEqual([
      "packages/boot/src/index.ts:1: 'fflate' is not among the package's dependencies",
      "packages/boot: dependency 'fzstd' is not used",
    ]);
  });

  it('refuses cycles', () => {
    putPackage('packages/machines', ['@tsvisor/vmm-core'], "import '@tsvisor/vmm-core';");
    putPackage('packages/vmm-core', ['@tsvisor/machines'], "import '@tsvisor/machines';");
    expect(problems()).toContain('cycle: @tsvisor/machines → @tsvisor/vmm-core → @tsvisor/machines');
  });

  it('refuses relative imports that leave the package, lack the extension or lead nowhere', () => {
    putPackage('packages/boot', [], "import '../../irqchip/src/pic.ts';\nimport './elf';\nimport './gone.ts';");
    put('packages/irqchip/src/pic.ts', '');
    expect(problems()).toEqual([
      "packages/boot/src/index.ts:1: '../../irqchip/src/pic.ts' leaves the package",
      "packages/boot/src/index.ts:2: './elf' must name the file, with its .ts",
      "packages/boot/src/index.ts:3: './gone.ts' does not exist",
    ]);
  });

  it("keeps Node's modules out of packages that run in browsers, but not out of their tests", () => {
    putPackage('packages/boot', [], "import 'node:fs';");
    put('packages/boot/src/index.test.ts', "import 'node:fs';");
    expect(problems()).toEqual(["packages/boot/src/index.ts:1: 'node:fs' keeps the package out of browsers"]);
  });

  it('refuses a package without a row in the table', () => {
    putPackage('packages/misc', [], 'export {};');
    expect(problems()).toEqual(['packages/misc: not in the table of scripts/architecture.ts']);
  });

  it('sees no import in comments and strings', () => {
    expect(importsOf('a.ts', "// import 'x'\nconst s = \"import 'y'\";\nimport type { Z } from './z.ts';", false)).toEqual([
      { file: 'a.ts', line: 3, specifier: './z.ts', test: false },
    ]);
  });
});

describe('the check of project references', () => {
  it('names the references that are missing', () => {
    put('tsconfig.json', { references: [{ path: 'scripts' }] });
    putPackage('packages/boot', ['@tsvisor/state-layout'], '');
    put('packages/boot/tsconfig.json', { references: [] });
    putPackage('packages/state-layout', [], '');
    put('packages/state-layout/tsconfig.json', {});
    expect(checkReferences(workspacePackages(base), false, base)).toEqual([
      'packages/boot/tsconfig.json: references must be [../state-layout] (npm run check:imports -- --fix)',
      'tsconfig.json: references must be [packages/boot, packages/state-layout] (npm run check:imports -- --fix)',
    ]);
  });

  it('writes them when it is asked to, and is content afterwards', () => {
    put('tsconfig.json', { files: [] });
    putPackage('packages/boot', [], '');
    put('packages/boot/tsconfig.json', {});
    expect(checkReferences(workspacePackages(base), true, base)).toEqual([]);
    expect(checkReferences(workspacePackages(base), false, base)).toEqual([]);
    expect(readFileSync(join(base, 'tsconfig.json'), 'utf8')).toContain('{ "path": "packages/boot" }');
  });
});
