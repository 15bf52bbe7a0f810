"""What crosses a boundary: configs, manifests, cards, results and Parquet schemas."""
