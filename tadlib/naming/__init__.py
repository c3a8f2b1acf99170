"""Classification of proposals: CLIP text embeddings against CLIP features pooled under each proposal."""
