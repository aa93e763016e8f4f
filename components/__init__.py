"""The parts of a pipeline: language models, retrievers, refiners, readers. Each is a typed callable."""

if __name__ != "ragloom.components":
    raise ImportError("import ragloom.components, not components")
