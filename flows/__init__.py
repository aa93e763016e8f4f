"""Prefect flows: thin wrappers that schedule and show the functions of `ragloom.pipelines`."""

if __name__ != "ragloom.flows":
    raise ImportError("import ragloom.flows, not flows")
