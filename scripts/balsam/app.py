"""Define bnn_hvd for a Balsam site: the command line of a run, and what follows when a run stops early.

    python scripts/balsam/app.py --site=local1 --python=/path/to/project/.venv/bin/python

Run it in Balsam's environment, which has no bnn_hvd; `--python` names the one that has.
"""

import argparse


def define(site, python):
    """Return the application TrainBNN for a site.

    The class is made in a function so that Balsam stores the whole class. Of a class of this module it would store
    the name only, and the site's processes can't import this file.
    """
    from balsam.api import ApplicationDefinition

    site_name = site

    class TrainBNN(ApplicationDefinition):
        """Train a network of bnn_hvd, or resume the run in this workdir."""

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
            """The time of the BatchJob is over: the next BatchJob resumes the run in the same workdir."""
            self.job.state = "RESTART_READY"

        def handle_error(self):
            """Exit code 75 is not a failure: the program stopped at a checkpoint, and the run is to be resumed."""
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
