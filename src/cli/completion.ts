/** Completion scripts for shells, from the command tree itself: a new option is completed as soon as it is there. */
import type { Command } from 'commander';

/** Shells there is a script for. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;

/** One of them. */
export type Shell = (typeof SHELLS)[number];

/** A word that may come next. */
interface Word {
  readonly word: string;
  readonly says: string;
}

/** A place in the tree: the words that lead there, and those that may follow. */
interface Place {
  readonly path: readonly string[];
  readonly commands: readonly Word[];
  readonly values: readonly Word[];
  readonly options: readonly Word[];
}

const placesOf = (command: Command, before: readonly string[] = []): readonly Place[] => {
  const path = [...before, command.name()];
  const visible = command.createHelp();
  const commands = visible.visibleCommands(command).filter((child) => child.name() !== 'help');
  const place = {
    path,
    commands: commands.map((child) => ({ word: child.name(), says: child.description() })),
    values: command.registeredArguments.flatMap(({ argChoices = [], description }) =>
      argChoices.map((word) => ({ word, says: description })),
    ),
    options: visible
      .visibleOptions(command)
      .flatMap(({ long, description }) =>
        long === undefined || long === null ? [] : [{ word: long, says: description }],
      ),
  };
  return [place, ...commands.flatMap((child) => placesOf(child, path))];
};

/** Options whose value is a file. */
const fileOptions = (command: Command): readonly string[] => [
  ...new Set(
    [command, ...command.commands, ...command.commands.flatMap((child) => child.commands)]
      .flatMap(({ options }) => options)
      .filter(({ flags }) => /<(file|dir)>/.test(flags))
      .flatMap(({ long, short }) => [long, short])
      .filter((flag) => flag !== undefined && flag !== null),
  ),
];

/** The script of a shell, for the whole command tree below `program`. */
export const completionScript = (program: Command, shell: Shell): string => {
  const places = placesOf(program);
  if (shell === 'bash') return bash(program.name(), places, fileOptions(program));
  return shell === 'zsh' ? zsh(program.name(), places) : fish(program.name(), places);
};

const wordsOf = ({ commands, values, options }: Place): readonly Word[] => [
  ...commands,
  ...values,
  ...options,
];

const nested = (places: readonly Place[]): readonly string[] =>
  places.slice(1).map(({ path }) => `'${path.join(' ')}'`);

const bash = (name: string, places: readonly Place[], files: readonly string[]): string =>
  [
    `# Completion of ${name} for bash: source <(${name} completion bash)`,
    `_${name}() {`,
    `  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" at=${name} word`,
    '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
    `    case "$at $word" in ${nested(places).join('|')}) at="$at $word" ;; esac`,
    '  done',
    `  case "$before" in ${files.join('|')}) COMPREPLY=($(compgen -f -- "$current")); return ;; esac`,
    '  case "$at" in',
    ...places.map(
      (place) =>
        `    '${place.path.join(' ')}') COMPREPLY=($(compgen -W '${wordsOf(place)
          .map(({ word }) => word)
          .join(' ')}' -- "$current")) ;;`,
    ),
    '  esac',
    '}',
    `complete -o default -F _${name} ${name}`,
  ].join('\n');

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

const zsh = (name: string, places: readonly Place[]): string =>
  [
    `#compdef ${name}`,
    `# Completion of ${name} for zsh: ${name} completion zsh > "\${fpath[1]}/_${name}"`,
    `_${name}() {`,
    `  local at=${name} word`,
    '  for word in ${words[2,CURRENT-1]}; do',
    `    case "$at $word" in (${nested(places).join('|')}) at="$at $word" ;; esac`,
    '  done',
    '  local -a found',
    '  case $at in',
    ...places.map(
      (place) =>
        `    ('${place.path.join(' ')}') found=(${wordsOf(place)
          .map(({ word, says }) => quoted(`${word}:${says.replaceAll(':', '\\:')}`))
          .join(' ')}) ;;`,
    ),
    '  esac',
    `  _describe ${name} found || _files`,
    '}',
    `if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _${name} "$@"; else compdef _${name} ${name}; fi`,
  ].join('\n');

const fish = (name: string, places: readonly Place[]): string => {
  const lines = places.flatMap((place) => {
    const [, ...path] = place.path;
    const here =
      path.length === 0
        ? '__fish_use_subcommand'
        : path.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
    return [
      ...[...place.commands, ...place.values].map(
        ({ word, says }) => `complete -c ${name} -f -n '${here}' -a ${word} -d ${quoted(says)}`,
      ),
      ...place.options.map(
        ({ word, says }) => `complete -c ${name} -n '${here}' -l ${word.slice(2)} -d ${quoted(says)}`,
      ),
    ];
  });
  return [`# Completion of ${name} for fish: ${name} completion fish | source`, ...lines].join('\n');
};
