"""What a shell completes, for `eval "$(mae-hydra --completion)"`: verbs and their options, options and keys of a run.

The words are in the script, so that no program starts when Tab is pressed; in a new shell they are new.
"""

import argparse
import importlib
import shlex
from collections.abc import Mapping, Sequence

from mae_hydra.configuration import reference

ADDED = ("experiment", "sweep", "debug")  # groups that take a plus
SCRIPT = """_mae_hydra_reply() {{
  local cur="${{COMP_LINE:0:$COMP_POINT}}"; cur="${{cur##* }}"
  COMPREPLY=($(compgen -W "$1" -- "$cur"))
  if [[ $cur == *=* ]]; then  # bash asks for what stands behind the sign alone
    COMPREPLY=("${{COMPREPLY[@]#*=}}")
    ((${{#COMPREPLY[@]}})) || COMPREPLY=($(compgen -f -- "${{cur#*=}}"))
  fi
  [[ ${{COMPREPLY[0]}} == *[=.] ]] && compopt -o nospace
}}
_mae_hydra_words() {{
  local line="${{COMP_LINE:0:$COMP_POINT}}"
  case "${{line##* }}" in
    *[.=]*) _mae_hydra_reply {words} ;;
    *) _mae_hydra_reply {first} ;;
  esac
}}
_mae_hydra() {{
  if ((COMP_CWORD == 1)); then _mae_hydra_reply {verbs}; return; fi
  case "${{COMP_WORDS[1]}}/${{COMP_LINE##* }}" in
    {composing}) _mae_hydra_words ;;
{options}
  esac
}}
_mae_hydra_python() {{ [[ ${{COMP_WORDS[1]}} == *train.py ]] && ((COMP_CWORD > 1)) && _mae_hydra_words; }}
complete -o default -F _mae_hydra mae-hydra
complete -o default -F _mae_hydra_python python python3
"""


def script(verbs: Mapping[str, tuple[str, str]], composing: Sequence[str]) -> str:
    """A script for bash; zsh takes it after `autoload -U bashcompinit && bashcompinit`.

    `verbs`: the module of each, and what it is for; `composing`: those that take a training's words.
    """
    known = reference.options()
    groups = {f"+{group}" if group in ADDED else group: there for group, there in known.items()}
    chosen = [f"{group}={each.name}" for group, there in groups.items() for each in there if not each.shared]
    keys = {key.name for there in known.values() for each in there for key in each.keys}
    general = [f"{key.name}=" for key in reference.general()]
    first = [*(f"{group}=" for group in groups), *general, *sorted({f"{key.partition('.')[0]}." for key in keys})]
    own = {verb: module for verb, (module, _) in verbs.items() if verb != "train"}
    options = "\n".join(f"    {verb}/-*) _mae_hydra_reply {_quoted(_options(own[verb]))} ;;" for verb in own)
    return SCRIPT.format(
        words=_quoted([*chosen, *general, *sorted(f"{key}=" for key in keys)]),
        first=_quoted(first),
        verbs=_quoted(list(verbs)),
        composing="|".join(f"{verb}/[!-]*|{verb}/" for verb in ("train", "evaluate", *composing)),
        options=options,
    )


def _options(module: str) -> list[str]:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"mae_hydra.commands.{module}").arguments(parser)
    return [word for action in parser._actions for word in action.option_strings if word.startswith("--")]


def _quoted(words: list[str]) -> str:
    return shlex.quote(" ".join(words))
