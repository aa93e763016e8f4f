"""Pipelines (question -> Answer), and running them over many questions: indexing, batches, evaluation."""

if __name__ != "ragloom.pipelines":
    raise ImportError("import ragloom.pipelines, not pipelines")
