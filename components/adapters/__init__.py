"""Bridges to LangChain, LlamaIndex and OpenTelemetry. Each module loads its package, so import the one you need."""
