"""The mask and its two rules, and what can be done with masks without a model: compose, compare, print, restrict."""
