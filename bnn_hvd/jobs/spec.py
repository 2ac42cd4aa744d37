"""The resources and the flagfile of a batch job: the input of every job script."""

import dataclasses
import re
import shlex
from pathlib import Path

from bnn_hvd.errors import UserError

# Names stand in directives (#SBATCH, #PBS, #COBALT), where nothing can be quoted.
PLAIN = re.compile(r"[A-Za-z0-9_.:+@-]*")
DIRECTIVE = re.compile(r"#(SBATCH|PBS|COBALT)\b")
COUNTS = ("nodes", "ranks_per_node", "threads_per_rank")
NAMES = ("queue", "account", "filesystems", "name")
SHORTEST_S = 300  # the start and the last checkpoint take two minutes of it


@dataclasses.dataclass(frozen=True)
class JobSpec:
    """Nodes, ranks and threads of a job, its time limit, its place, and its flagfile.

    Attributes:
      walltime: HH:MM:SS, or minutes.
      gpus_per_node: 0 asks for none.
      queue, account, filesystems: empty for the defaults of the scheduler.
      setup: a file whose lines the script runs before it starts Python; empty for none.

    Raises:
      UserError: a value can't be used in a job script.
    """

    nodes: int = 2
    ranks_per_node: int = 4
    threads_per_rank: int = 8
    walltime: str = "01:00:00"
    queue: str = ""
    account: str = ""
    filesystems: str = "home:eagle"
    flagfile: str = "configs/quickstart.cfg"
    name: str = "bnn_hvd"
    gpus_per_node: int = 0
    setup: str = ""

    def __post_init__(self) -> None:
        for field in COUNTS:
            if getattr(self, field) < 1:
                raise UserError(f"--{field}={getattr(self, field)} must be at least 1")
        if self.gpus_per_node < 0:
            raise UserError(f"--gpus_per_node={self.gpus_per_node} must be at least 0")
        for field in NAMES:
            if not PLAIN.fullmatch(getattr(self, field)):
                raise UserError(
                    f"--{field}={getattr(self, field)!r} can't stand in a job script: use only letters, digits, _.:+@-"
                )
        if not self.name or not self.name[0].isalpha():
            raise UserError(f"--name={self.name!r} must begin with a letter")
        if not self.flagfile or not self.flagfile.isprintable():
            raise UserError("--flagfile is required: the flags of the training, one a line (see configs/)")
        if not self.setup.isprintable():
            raise UserError(f"--setup={self.setup!r} must be the path of a file")
        if self.walltime_s < SHORTEST_S:
            raise UserError(f"--walltime={self.walltime} must be at least {hh_mm_ss(SHORTEST_S)}")

    @property
    def ranks(self) -> int:
        return self.nodes * self.ranks_per_node

    @property
    def walltime_s(self) -> int:
        return parse_walltime(self.walltime)

    @property
    def walltime_minutes(self) -> int:
        """Whole minutes, rounded up, for the schedulers that count in them."""
        return -(-self.walltime_s // 60)

    @property
    def margin_s(self) -> int:
        """Seconds between the end of training and the walltime: a tenth of it, from two to ten minutes.

        They suffice for the rest of a call of the loop, an evaluation, the checkpoint, and the end of all ranks.
        """
        return min(max(self.walltime_s // 10, 120), 600)

    @property
    def setup_lines(self) -> list[str]:
        """The lines of the setup file.

        Raises:
          UserError: it can't be read, or has a directive, which schedulers read only above the first command.
        """
        if not self.setup:
            return []
        try:
            lines = Path(self.setup).read_text().splitlines()
        except OSError as error:
            raise UserError(f"--setup={self.setup} can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"--setup={self.setup} is not a text file: give a file of bash lines") from None
        for number, line in enumerate(lines, 1):
            if DIRECTIVE.match(line):
                raise UserError(
                    f"--setup={self.setup}, line {number}: {line!r} has no effect so far down in a script; give it as "
                    f"an option when you submit"
                )
        return lines

    def refuse(self, field: str, reason: str) -> None:
        """Raise UserError if a value is given that a scheduler has no place for."""
        if getattr(self, field):
            raise UserError(f"--{field}={getattr(self, field)}: {reason}; leave it out")

    @property
    def command(self) -> str:
        """The flags of `job` that print this script again."""
        words = [
            f"--{field.name}={shlex.quote(str(getattr(self, field.name)))}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return " ".join(words)


def parse_walltime(text: str) -> int:
    """Return the seconds in `HH:MM:SS` or in a number of minutes.

    Raises:
      UserError: the text is neither.
    """
    if re.fullmatch(r"\d{1,6}", text, re.ASCII):
        return 60 * int(text)
    match = re.fullmatch(r"(\d{1,4}):([0-5]\d):([0-5]\d)", text, re.ASCII)
    if not match:
        raise UserError(f"--walltime={text!r} must be HH:MM:SS or a number of minutes")
    hours, minutes, seconds = map(int, match.groups())
    return 3600 * hours + 60 * minutes + seconds


def hh_mm_ss(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
