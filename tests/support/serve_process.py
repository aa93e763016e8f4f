"""`ragloom serve` in a process of its own: `python serve_process.py --port 0 ...`."""

import argparse
import sys

from ragloom.errors import RagloomError
from ragloom.pipelines.settings import Settings, load_settings
from ragloom.serve_commands import add_serve, run_serve


def serve(*arguments: str) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser()
    add_serve(parser.add_subparsers())
    args = parser.parse_args(["serve", *arguments])
    settings = load_settings({name: getattr(args, name, None) for name in Settings.model_fields}, file=args.config)
    return run_serve(args, settings)


if __name__ == "__main__":
    try:
        sys.exit(serve(*sys.argv[1:]))
    except RagloomError as error:
        sys.stderr.write(f"ragloom: {error}\n")
        sys.exit(error.exit_code)
