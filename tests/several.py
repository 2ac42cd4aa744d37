"""Run several bnn_hvd commands in this process: `python several.py FOLDER`, also under horovodrun.

Reads FOLDER/commands.json; writes FOLDER/<command>.rank<rank>.{out,err,code,peak}.
"""

import json
import os
import resource
import sys
import traceback
from pathlib import Path

from bnn_hvd import cli
from bnn_hvd.distributed import launcher


def main(folder: Path) -> None:
    for i, words in enumerate(json.loads((folder / "commands.json").read_text())):
        name = f"{i}.rank{launcher.world_rank()}"
        for descriptor, part in ((1, "out"), (2, "err")):  # of the process: TensorFlow writes to them too
            file = os.open(folder / f"{name}.{part}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, descriptor)
            os.close(file)
        try:
            code = cli.main(["bnn_hvd", *words])
        except Exception:  # noqa: BLE001 - it would end a process of its own with a traceback and code 1
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        (folder / f"{name}.code").write_text(str(code))
        (folder / f"{name}.peak").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))  # kB, on Linux


if __name__ == "__main__":
    main(Path(sys.argv[1]))
