"""The knowledge graph of a corpus, and passages ranked over it."""

if __name__ != "ragloom.graph":
    raise ImportError("import ragloom.graph, not graph")
