"""Raw faces to arrays: source → dataset (Parquet and a manifest) → task → arrays that a trainable learns from."""
