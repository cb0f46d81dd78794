"""Where pictures come from: what lies under the inputs, and which class each picture belongs to."""
