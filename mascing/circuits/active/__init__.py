"""Masks learnt from judged trials under proposed masks."""
