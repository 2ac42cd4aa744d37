"""The command line: from flags to a config, and from a verb to its function. The only file that uses absl flags."""

import dataclasses
import errno
import inspect
import io
import pkgutil
import re
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from bnn_hvd import config, legacy, registry
from bnn_hvd.distributed import environment, launcher
from bnn_hvd.errors import EXIT_CTRL_C, TrainingError, UserError
from bnn_hvd.run import rundir


class Verb(NamedTuple):
    """A verb: `target` (module:function) takes a `config_type`, and returns the exit code.

    word: the flag whose value may follow the verb as a plain word; "": none.
    """

    config_type: type
    target: str
    word: str = ""


class PlainFlags(flags.FlagValues):
    """Flags without --flagfile: `config.expand` has put the flags of the files in its place."""

    def read_flags_from_files(self, argv: Sequence[str], force_gnu: bool = True) -> list[str]:
        return list(argv)


VERBS = {
    "train": Verb(config.TrainConfig, "bnn_hvd.training.train:main"),
    "predict": Verb(config.PredictConfig, "bnn_hvd.prediction.predict:main"),
    "plot": Verb(config.PlotConfig, "bnn_hvd.plots:main"),
    "prune": Verb(config.PruneConfig, "bnn_hvd.studies.pruning.command:main"),
    "prepare_data": Verb(config.PrepareDataConfig, "bnn_hvd.data.download:main"),
    "exact": Verb(config.ExactConfig, "bnn_hvd.prediction.exact:main", word="data_dir"),
    "scale": Verb(config.ScaleConfig, "bnn_hvd.studies.scaling:main"),
    "compare": Verb(config.CompareConfig, "bnn_hvd.studies.comparison.command:main"),
    "churn": Verb(config.ChurnConfig, "bnn_hvd.studies.churn.command:main"),
    "job": Verb(config.JobConfig, "bnn_hvd.jobs:main", word="scheduler"),
}

HELP = {"--help", "-h", "--helpfull", "-help"}

DEFINE: dict[Any, Any] = {  # by the type of the field
    str: flags.DEFINE_string, bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer, int | None: flags.DEFINE_integer, float: flags.DEFINE_float,
}  # fmt: skip

KINDS: dict[Any, str] = {bool: "true or false", int: "a whole number", int | None: "a whole number", float: "a number"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 training failed, 2 user's mistake, 75 stopped early."""
    args = list(sys.argv if argv is None else argv)
    write_whole_lines()
    environment.prepare()
    try:
        if not set(args[1:]) - HELP:
            print(overview())
            return 0 if args[1:] else UserError.exit_code
        # Without a verb, flags are those of `train`: flagfiles of the original scripts run unchanged.
        name = args.pop(1) if len(args) > 1 and not args[1].startswith("-") else "train"
        if name not in VERBS:
            raise UserError(f"unknown verb {name!r}; known: {', '.join(VERBS)}")
        if HELP & set(args[1:]):
            print(help_text(name))
            return 0
        if VERBS[name].word and len(args) > 1 and not args[1].startswith("-"):
            args[1] = f"--{VERBS[name].word}={args[1]}"
        parsed = parse(VERBS[name].config_type, args[1:])  # mistakes are found before the slow imports of the verb
        return pkgutil.resolve_name(VERBS[name].target)(parsed)
    except (UserError, TrainingError) as error:
        if rank := launcher.world_rank():
            time.sleep(5)  # so that the message of rank 0 comes first, and usually is the only one
        where = f" on rank {rank}" if rank else ""
        print(f"bnn_hvd: error{where}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("bnn_hvd: interrupted; all files that were written are whole", file=sys.stderr)
        return EXIT_CTRL_C
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES):
            print(f"bnn_hvd: error: {error}: change the permissions, or name another folder", file=sys.stderr)
            return UserError.exit_code
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"bnn_hvd: error: {error}: make room and start again; the last checkpoint is kept", file=sys.stderr)
        return TrainingError.exit_code


def write_whole_lines() -> None:
    """Write each line to a pipe at once and whole: launchers put the number of the rank before each piece they read.

    Under PYTHONUNBUFFERED, which job scripts set, `print` writes the end of a line as a piece of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)


def overview() -> str:
    """Return the verbs, and what each does."""
    purposes = {name: inspect.getdoc(verb.config_type) or "" for name, verb in VERBS.items()}
    rows = [f"  {name:13} {purpose.splitlines()[0]}" for name, purpose in purposes.items()]
    return "\n".join([
        "python -m bnn_hvd <verb> --flags: Bayesian neural networks, trained data-parallel", "", *rows, "",
        "`<verb> --help` lists the flags of a verb. For a first run:",
        "  python -m bnn_hvd train --flagfile=configs/quickstart.cfg",
    ])  # fmt: skip


def parse(config_type: type, args: Sequence[str]) -> Any:
    """Return the config of the flags and of the flagfiles among them, checked; a TrainConfig is also resolved.

    Raises:
      UserError: a flag is unknown, or has a wrong value.
    """
    fields = config.flags_of(config_type)
    values = PlainFlags()
    for name, field in fields.items():
        DEFINE[field.type](name, field.default, field.metadata["help"], flag_values=values)
    try:
        plain = list(args) if "flagfile" in fields else config.expand(args)  # `job` has a --flagfile of its own
        rest = values(["bnn_hvd", *legacy.translate(plain)])
    except flags.IllegalFlagValueError as error:
        raise UserError(_wrong_value(str(error), fields)) from None
    except flags.Error as error:
        raise UserError(str(error)) from None
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag: flags begin with --")
    given = {name: values[name].value for name in fields if values[name].present}
    return config.make(config_type, **(rundir.continued(given) if config_type is config.TrainConfig else given))


def _wrong_value(message: str, fields: config.Fields) -> str:
    """Return what a flag must be, from absl's message `flag --name=value: reason`."""
    found = re.match(r"flag --(\w+)=(.*?): ", message, re.DOTALL)
    if not found or found[1] not in fields:
        return message
    return f"--{found[1]}={found[2]} must be {KINDS[fields[found[1]].type]}"


def help_text(name: str) -> str:
    """Return the help text of a verb: what it does, then its flags by section, with their defaults."""
    verb = VERBS[name]
    lines = [
        f"python -m bnn_hvd {name} --flags     {inspect.getdoc(verb.config_type)}",
        "",
        "verbs: " + ", ".join(VERBS) + "; `<verb> --help` for the flags of each.",
        "--flagfile=FILE reads flags from a file, one per line (see configs/).",
        "On many ranks, put horovodrun -np N, mpiexec, srun or aprun in front of the same command.",
    ]
    for section, fields in config.sections(config.flags_of(verb.config_type)):
        lines += ["", f"{section}:"]
        for flag_name, field in fields.items():
            lines += _flag_help(flag_name, field)
    return "\n".join(lines)


def _flag_help(name: str, field: dataclasses.Field) -> list[str]:
    """Return the lines of a flag: its default, what it does, its choices, and what does not use it."""
    default = field.default
    shown = "" if default in ("", None) else f"={str(default).lower() if field.type is bool else default}"
    lines = [f"  --{name}{shown}", f"      {field.metadata['help']}"]
    if field.metadata["choices"]:
        lines += [f"      {line}" for line in _choices(field.metadata["choices"])]
    if rows := config.without_use(name, field):
        lines.append(f"      not with {', '.join(rows)}")
    for row, value in config.with_own_default(name).items():
        lines.append(f"      with {row}: {value}")
    return lines


def _choices(choices: Collection[str]) -> list[str]:
    """Return a line per choice that the registry describes, else one line with all choices."""
    if isinstance(choices, Mapping) and all(isinstance(row, registry.Row) for row in choices.values()):
        return [f"{name:9} {row.help}" for name, row in choices.items()]
    return ["one of: " + ", ".join(choices)]
