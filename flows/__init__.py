"""Prefect flows: thin wrappers that schedule and show the functions of `ragloom.pipelines`."""

import os

if __name__ != "ragloom.flows":
    raise ImportError("import ragloom.flows, not flows")

# Prefect reads these when it is first imported, which the modules of this folder do. Set otherwise, they stay as set.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # 20 are too few on two busy cores
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # the server's reports to Prefect's makers
os.environ.setdefault("DO_NOT_TRACK", "1")  # the client's
