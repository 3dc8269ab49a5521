/** What is deployed, as far as it can be judged without an engine: nobody is root, everything is bounded, every command and file exists. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { createProgram } from '../../src/cli/main.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { HISTOGRAMS } from '../../src/server/histograms.ts';
import { METRICS } from '../../src/server/metric-list.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

const program = await createProgram();

/** Parses a command line as the program would, and does nothing. */
const understand = ([name = '', ...words]: readonly string[]): void => {
  const command: Command | undefined = program.commands.find((one) => one.name() === name);
  expect(command, `there is no command ${name}`).toBeDefined();
  expect(command?.parseOptions([...words]).unknown, `${name} ${words.join(' ')}`).toEqual([]);
};

const SECRETS = { CHAIN_TOKEN: 'a token', DATABASE_URL: 'postgres://me@db/warehouse' };

describe('the image', () => {
  const lines = read('deploy/Dockerfile').split('\n');

  test('is made of what is there, from images of a fixed version, and runs as nobody in particular', () => {
    const from = lines.filter((line) => line.startsWith('FROM '));
    expect(from.length).toBeGreaterThan(0);
    for (const line of from) expect(line).toMatch(/^FROM \S+:\d\S+/);
    expect(lines.findLast((line) => line.startsWith('USER '))).toMatch(/^USER [1-9]\d*:[1-9]\d*$/);
    const copied = lines
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from='))
      .flatMap((line) => line.split(/\s+/).slice(1, -1));
    const kept = read('deploy/Dockerfile.dockerignore').split('\n');
    for (const file of copied) {
      expect(existsSync(join(ROOT, file)), file).toBe(true);
      expect(kept, file).toContain(`!${file}`);
    }
  });

  test('starts the program that the package is built to', () => {
    const { bin } = JSON.parse(read('package.json')) as { bin: { pgstrata: string } };
    const entry = JSON.parse(
      lines.find((line) => line.startsWith('ENTRYPOINT'))?.slice(11) ?? '',
    ) as string[];
    expect(normalize(entry.at(-1) ?? '')).toBe(join('/app', bin.pgstrata));
  });
});

interface Service {
  readonly image?: string;
  readonly command?: readonly string[];
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly profiles?: readonly string[];
  readonly healthcheck?: unknown;
  readonly entrypoint?: readonly string[];
  readonly depends_on?: Readonly<Record<string, object>>;
  readonly restart?: string;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly mem_limit?: string;
  readonly cpus?: number;
  readonly privileged?: boolean;
}

describe('the compose file', () => {
  const { services } = parse(read('docker-compose.yml'), { merge: true }) as {
    services: Record<string, Service>;
  };
  const own = Object.entries(services).filter(([, { image }]) => image === 'pgstrata:local');

  test('starts PostgreSQL alone, unless the profile is asked for', () => {
    const always = Object.entries(services).filter(([, { profiles }]) => profiles === undefined);
    expect(always.map(([name]) => name)).toEqual(['postgres']);
    expect(own.map(([name]) => name)).toEqual(['migrate', 'ingest', 'schedule', 'page']);
  });

  test.each(Object.entries(services))('%s listens on this machine only, and is bounded', (name, service) => {
    expect(service.privileged).toBeUndefined();
    expect(service.image).not.toMatch(/:latest$|^[^:]+$/);
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
    for (const volume of service.volumes ?? []) {
      const [source = ''] = volume.split(':');
      if (source.startsWith('.')) expect(existsSync(join(ROOT, source)), volume).toBe(true);
    }
    if (name === 'postgres') return;
    expect(service).toMatchObject({ cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] });
    expect([service.mem_limit, service.cpus]).toEqual([expect.any(String), expect.any(Number)]);
    if (service.ports !== undefined) expect(service.healthcheck).toBeDefined();
  });

  test('makes one Citus cluster of equal nodes, each known to the coordinator', () => {
    const cluster = Object.entries(services).filter(([, { profiles }]) => profiles?.includes('citus'));
    const nodes = cluster.filter(([, { volumes }]) => volumes !== undefined);
    expect(nodes.map(([name]) => name)).toEqual(['coordinator', 'worker-1', 'worker-2']);
    const [, first] = nodes[0]!;
    for (const [, { image }] of cluster) expect(image).toBe(first.image);
    for (const [, { command }] of nodes) expect(command).toEqual(first.command);
    expect(new Set(nodes.flatMap(([, { volumes = [], ports = [] }]) => [...volumes, ...ports])).size).toBe(6);
    for (const setting of [
      'shared_preload_libraries=citus',
      'max_prepared_transactions=200',
      'max_locks_per_transaction=512',
      'max_worker_processes=32',
      'wal_level=logical',
    ])
      expect(first.command).toContain(setting);
    const once = cluster.filter(([name]) => !nodes.some(([node]) => node === name));
    expect(once).toHaveLength(1);
    const [[, { entrypoint = [], depends_on = {}, restart }]] = once as [(typeof once)[0]];
    expect(restart).toBe('no');
    expect(entrypoint.flatMap((word) => /'([a-z0-9-]+)', 5432/.exec(word)?.[1] ?? [])).toEqual(
      nodes.map(([name]) => name),
    );
    expect(depends_on).toEqual(
      Object.fromEntries(nodes.map(([name]) => [name, { condition: 'service_healthy' }])),
    );
  });

  test('runs commands that there are, with a policy file that is sound', () => {
    for (const [, { command = [] }] of own) understand(command);
    expect(Object.keys(parseConfig(read('deploy/pgstrata.yaml'), {}).streams)).not.toEqual([]);
  });

  test('lets Prometheus call the page by a name that it allows', () => {
    const { scrape_configs } = parse(read('deploy/prometheus.yml')) as {
      scrape_configs: { static_configs: { targets: string[] }[] }[];
    };
    const [target = ''] = scrape_configs[0]?.static_configs[0]?.targets ?? [];
    const { command = [] } = services['page'] ?? {};
    expect(command.slice(command.indexOf('--allow-host') + 1)).toContain(target.split(':')[0]);
  });
});

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly env?: readonly { name: string; valueFrom?: { secretKeyRef: { name: string; key: string } } }[];
  readonly ports?: readonly { name: string; containerPort: number }[];
  readonly resources: { readonly requests: object; readonly limits: object };
  readonly securityContext: object;
  readonly livenessProbe?: { readonly httpGet: { path: string } };
  readonly readinessProbe?: { readonly httpGet: { path: string } };
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly stringData?: Record<string, string>;
  readonly spec: {
    readonly selector?: Record<string, unknown> & { readonly matchLabels?: object };
    readonly template: {
      readonly metadata: { readonly labels: object };
      readonly spec: {
        readonly securityContext: object;
        readonly automountServiceAccountToken: boolean;
        readonly containers: readonly Container[];
        readonly volumes: readonly { readonly configMap: { readonly name: string } }[];
      };
    };
  };
}

describe('the Kubernetes manifests', () => {
  const folder = 'deploy/kubernetes';
  const manifestsOf = (file: string): Manifest[] =>
    parseAllDocuments(read(file)).map((document) => document.toJS() as Manifest);
  const kustomization = parse(read(`${folder}/kustomization.yaml`)) as {
    resources: string[];
    configMapGenerator: { name: string; files: string[] }[];
  };
  const manifests = kustomization.resources.flatMap((file) => manifestsOf(`${folder}/${file}`));
  const [secret] = manifestsOf(`${folder}/secret.example.yaml`);
  const pods = manifests.filter(({ kind }) => kind === 'Deployment' || kind === 'Job');

  test('are all named by the kustomization, but for the example of the secret', () => {
    const there = globSync(`${folder}/*.yaml`, { cwd: ROOT }).map((file) =>
      file.slice(dirname(file).length + 1),
    );
    const named = [
      ...kustomization.resources,
      ...kustomization.configMapGenerator.flatMap(({ files }) => files),
    ];
    expect([...named, 'kustomization.yaml', 'secret.example.yaml'].toSorted()).toEqual(there.toSorted());
    expect(pods.map(({ metadata }) => metadata.name)).toEqual(['migrate', 'ingest', 'schedule', 'page']);
  });

  test.each(pods.map((pod) => [pod.metadata.name, pod] as const))(
    '%s is restricted and bounded',
    (_name, pod) => {
      const { spec, metadata } = pod.spec.template;
      expect(spec.securityContext).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect(spec.automountServiceAccountToken).toBe(false);
      expect(kustomization.configMapGenerator.map(({ name }) => name)).toEqual(
        spec.volumes.map(({ configMap }) => configMap.name),
      );
      if (pod.spec.selector !== undefined)
        expect(metadata.labels).toMatchObject(pod.spec.selector.matchLabels ?? {});
      for (const container of spec.containers) {
        expect(container.securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
        for (const bound of [container.resources.requests, container.resources.limits])
          expect(Object.keys(bound)).toEqual(['cpu', 'memory']);
        for (const { valueFrom } of container.env ?? [])
          expect(Object.keys(secret?.stringData ?? {})).toContain(valueFrom?.secretKeyRef.key);
        if (container.ports !== undefined) {
          expect(container.livenessProbe?.httpGet.path).toBe('/health');
          expect(container.readinessProbe?.httpGet.path).toBe('/ready');
        }
        understand(container.args);
      }
    },
  );

  test('give the page a service that finds it, and everybody a policy file that is sound', () => {
    const service = manifests.find(({ kind }) => kind === 'Service');
    const page = pods.find(({ metadata }) => metadata.name === 'page');
    expect(page?.spec.template.metadata.labels).toMatchObject(service?.spec.selector ?? { none: true });
    expect(Object.keys(parseConfig(read(`${folder}/pgstrata.yaml`), SECRETS).streams)).not.toEqual([]);
  });
});

test.each(['docs/operations.md', 'docs/sizing.md'])(
  '%s shows commands and metrics that there are',
  (page) => {
    const text = read(page);
    const lines = [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap((block) =>
      (block[1] ?? '').trim().split('\n'),
    );
    const inline = [...text.matchAll(/`pgstrata ([a-z][^`]*)`/g)].map(
      (match) => `pgstrata ${match[1] ?? ''}`,
    );
    for (const line of [...lines, ...inline]) understand(line.split(/\s+/).slice(1));
    const exported = new Set([
      ...METRICS.map(({ name }) => name),
      ...HISTOGRAMS.flatMap(({ name }) => ['bucket', 'sum', 'count'].map((part) => `${name}_${part}`)),
    ]);
    const named = text.match(/pgstrata_(?!ingest_\*|stream_\*)[a-z_]+[a-z]\b(?!\*)/g) ?? [];
    expect(named.filter((name) => !exported.has(name) && name !== 'pgstrata_database_up')).toEqual([]);
  },
);
