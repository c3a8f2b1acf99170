"""Stands before a package that jsonschema can do without: its grammars take every process 2.6 seconds to import."""

raise ImportError("not needed by any test")
