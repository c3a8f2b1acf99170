"""Which action is it? CLIP text embeddings against CLIP features pooled under each proposal."""
