"""What a Balsam site must know of bnn_hvd: its command line, and what to do when a run stops early.

    python scripts/balsam/app.py --site=local1 --python=/path/to/project/.venv/bin/python

Run it in Balsam's environment, which has no bnn_hvd; `--python` names the one that has.
"""

import argparse


def define(site, python):
    """Return the application TrainBNN for a site.

    The class is made in a function so that Balsam stores all of it, not the name of this file,
    which the site's own processes could not import.
    """
    from balsam.api import ApplicationDefinition

    site_name = site

    class TrainBNN(ApplicationDefinition):
        """Train a network of bnn_hvd, or go on where the run in this workdir stopped."""

        site = site_name
        environment_variables = {"PYTHONUNBUFFERED": "1"}  # noqa: RUF012
        # The run directory is `run` in the job's workdir: a restarted job finds its checkpoints there.
        command_template = (
            f"{python} -m bnn_hvd train --flagfile={{{{ flagfile }}}} --run=run --threads={{{{ threads }}}}"
            "{% if model != '-' %} --model={{ model }}{% endif %}{% if seed != '-' %} --seed={{ seed }}{% endif %}"
        )
        parameters = {  # noqa: RUF012
            "flagfile": {"required": True, "help": "flags of the training, one a line; a full path"},
            "threads": {"required": False, "default": "0", "help": "threads per rank"},
            "model": {"required": False, "default": "-", "help": "-: the flagfile's"},
            "seed": {"required": False, "default": "-", "help": "-: the flagfile's"},
        }

        def handle_timeout(self):
            """The BatchJob's time was over: the next one goes on, in the same workdir."""
            self.job.state = "RESTART_READY"

        def handle_error(self):
            """75 is no error: the program stopped at a checkpoint, and wants to go on."""
            code = self.job.state_data.get("returncode", self.job.return_code)
            self.job.state = "RESTART_READY" if code == 75 else "FAILED"

    return TrainBNN


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", required=True, help="name of the Balsam site")
    parser.add_argument("--python", required=True, help="the Python that has bnn_hvd")
    flags = parser.parse_args()
    define(flags.site, flags.python).sync()
    print(f"site {flags.site} knows TrainBNN")


if __name__ == "__main__":
    main()
