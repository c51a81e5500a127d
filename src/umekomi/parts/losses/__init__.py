"""Objectives: tensors in, a scalar out; below each function the module that a trainer takes."""
