"""The comparison: many methods on the same pictures, against the same copiers and controls."""
