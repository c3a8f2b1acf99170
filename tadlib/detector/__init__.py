"""Where is an action? A one-dimensional Conditional DETR with class-agnostic queries, its training, its proposals."""
